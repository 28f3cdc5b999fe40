"""One rank, from its first instruction to its outcome: the entry function that the elastic agent starts.

Signals: SIGTERM and SIGINT are the launcher's (`ipc.signals`), and a worker dies with the process that started it.
"""

import hashlib
import logging
import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
import torch.distributed as dist
from torch.multiprocessing import _prctl_pr_set_pdeathsig  # type: ignore[attr-defined]

from neuron_api import contract, version
from neuron_api.config import TrainingConfig
from neuron_api.derive import hardware
from neuron_api.platform.topology import Topology
from neuron_api.resource.spec import CompileMode

from . import accelerators, generators, logs, parallel, run_config
from .checkpoint.manifest import read
from .checkpoint.memory.agreement import MemoryTier
from .checkpoint.memory.slot import CopyIdentity
from .compile_phase import record
from .compile_phase.record import CompileStore
from .data import tokenizer
from .errors import InputError, PeerLostError, ProgressLostError, ReportedError, compiler_refusal, failure_sentence
from .ipc import cpu_affinity, process_group, signals
from .ipc.phases import Phases
from .ipc.worker_channel import Start, WorkerChannel
from .metrics.history import MetricsFile
from .models import config_json
from .models.family import Family
from .parallel import hosts
from .run_directory.log_dir import checkpoints, compile_cache
from .storage import lease, places

if TYPE_CHECKING:
    from .compile_phase.phase import CompilePhase

log = logging.getLogger(__name__)

LOST_WAIT: Final = 120.0
"""Seconds for which a worker without peers waits for its launcher to stop it."""

_MIN_TIMEOUT: Final = 30
_DEFAULT_TIMEOUT: Final = 300
"""Seconds until a collective that does not end is fatal: `neuron_rt_exec_timeout`, not below 30."""


class WorkerOutcome(StrEnum):
    """How a worker that did not fail has ended."""

    FINISHED = "finished"
    PREEMPTED = "preempted"
    """This node was asked to stop; the step is saved."""
    REJOIN = "rejoin"
    """Another node was asked to stop; the step is saved, wait for its replacement."""
    OUT_OF_TIME = "out of time"
    """`trainer.max_time` is over; the step is saved, and another start goes on from it."""
    COMPILED = "compiled"
    """The compile phase has ended; training is for new processes."""
    STOPPED_EARLY = "stopped early"
    """Early stopping ended the training."""


@dataclass(frozen=True, slots=True)
class Job:
    """What all workers of a launcher start with, in every round."""

    resolved: dict[str, Any]
    config_hash: str
    processes_per_node: int
    log_dir: str
    channel_folder: str
    accelerator: str
    is_test: bool = False
    """`neuron-train test`: a checkpoint is evaluated, nothing is trained."""
    compile_mode: CompileMode = CompileMode.NEVER
    compiles_only: bool = False
    """`neuron-train compile`: the job ends with its compile phase."""
    memory_folder: str = ""
    """The launcher's folder in shared memory; empty where no copies are made (`spec.memoryCheckpoints`)."""
    memory_every_steps: int = 0
    memory_replicas: int = 0


@dataclass(frozen=True, slots=True)
class Ranks:
    """Which process this is, from the agent's variables."""

    world_size: int
    rank: int
    local_rank: int

    @classmethod
    def from_environment(cls) -> "Ranks":
        """Read RANK, LOCAL_RANK and WORLD_SIZE."""
        return cls(int(os.environ["WORLD_SIZE"]), int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"]))


def main(job: Job) -> str:
    """Run one rank; returns a `WorkerOutcome`, or raises."""
    started = time.monotonic()
    _prctl_pr_set_pdeathsig(signal.SIGKILL)
    signals.outlive_termination()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ranks, channel = Ranks.from_environment(), WorkerChannel(Path(job.channel_folder))
    channel.redirect_stderr(ranks.local_rank)
    _show_rank(ranks.rank)
    start = channel.read_start()
    phases = Phases(started if start.since is None else start.since, start.phases)
    phases.mark("worker_start")
    config = run_config.for_training(TrainingConfig.model_validate(job.resolved))
    if job.is_test:
        config = run_config.for_test(config)
    logs.configure(config.exp_manager, Path(job.log_dir), ranks.rank, ranks.local_rank)
    try:
        compiles = _has_compile_phase(job, config, start)
        device = _initialise(config, job.accelerator, ranks.local_rank, may_compile=compiles)
        phases.mark("rendezvous")
        return _train(job, config, ranks, device, channel, start, phases).value
    except InputError as problem:
        channel.report_refusal(problem)
        raise
    except ProgressLostError as problem:
        channel.report_progress_loss(str(problem))
        raise
    except Exception as problem:
        if (refusal := compiler_refusal(problem)) is not None:
            logs.stack(problem)
            channel.report_compiler(refusal)
            raise ReportedError(refusal) from None
        if not process_group.is_peer_loss(problem, job.accelerator):
            if (sentence := failure_sentence(problem, is_own_module=bool(config.data.data_module))) is None:
                raise
            logs.stack(problem)
            raise ReportedError(sentence) from None
        # Leaving now would look like a failure of this process; the launcher stops it as soon as it has read the note.
        channel.report_lost(ranks.local_rank, f"{type(problem).__name__}: {problem}".splitlines()[0])
        time.sleep(LOST_WAIT)
        raise PeerLostError("peers were lost and the launcher did not stop this process") from problem


def _show_rank(rank: int) -> None:
    """Let `ps`, `top` and py-spy show `rank-3` instead of one more python, where the system has such names."""
    with suppress(OSError):
        Path("/proc/self/comm").write_text(f"rank-{rank}")


def _initialise(config: TrainingConfig, name: str, local_rank: int, *, may_compile: bool = False) -> torch.device:
    """Join the process group, then take the device; the device's generator is seeded with the others."""
    accelerator = accelerators.get(name)
    if accelerator.package:
        cores = accelerators.visible_cores(os.environ.get(accelerators.VISIBLE_CORES, ""))
        cpu_affinity.bind(os.environ, cores, local_rank)
    accelerators.load(accelerator, local_rank, may_compile=may_compile)
    backend = parallel.select(config, name)
    timeout = config.neuron_rt_exec_timeout or _DEFAULT_TIMEOUT
    process_group.join(backend, name, max(_MIN_TIMEOUT, accelerator.compile_seconds, timeout))
    device = accelerators.open_device(accelerator)
    generators.seed_generators(config.seed, device)
    return device


def _train(
    job: Job,
    config: TrainingConfig,
    ranks: Ranks,
    device: torch.device,
    channel: WorkerChannel,
    own: Start,
    phases: Phases,
) -> WorkerOutcome:
    from .loop import testing
    from .loop.run import Run  # Lightning: preloaded in the forkserver, not needed to unpickle this module
    from .loop.stopping import Stop

    start = _agree(own)

    def build(*, is_fresh: bool) -> Run:
        return Run.build(
            config=config,
            topology=Topology.from_config(config, job.processes_per_node),
            config_hash=job.config_hash,
            device=device,
            wants_stop=lambda: channel.is_stopping,
            phases=phases,
            is_fresh=is_fresh,
        )

    if _has_compile_phase(job, config, start):
        phase = _compile_phase(job, config, ranks, channel, own)
        if phase.run(lambda: build(is_fresh=True).module) or job.compiles_only:
            return _leave(channel, ranks, WorkerOutcome.COMPILED)
        phases.mark("compile")
    memory = _memory(job, config, ranks, start.run_id)
    start = _with_memory(start, memory)
    run = build(is_fresh=not start.memory_step and Run.draws_weights(start.checkpoint))
    if job.is_test:
        testing.test(run, start, Path(job.log_dir), ranks.rank)
        return _leave(channel, ranks, WorkerOutcome.FINISHED)
    metrics = MetricsFile(Path(job.log_dir) / contract.METRICS_FILE, channel.guard) if ranks.rank == 0 else None
    stop = run.fit(
        start,
        log_dir=Path(job.log_dir),
        checkpoints=checkpoints(config, Path(job.log_dir)),
        handoff=channel if ranks.local_rank == 0 else None,
        metrics=metrics,
        rank=ranks.rank,
        memory=memory,
    )
    outcomes = {Stop.TIME: WorkerOutcome.OUT_OF_TIME, Stop.EARLY: WorkerOutcome.STOPPED_EARLY}
    return _leave(channel, ranks, None if stop is Stop.REQUEST else outcomes.get(stop, WorkerOutcome.FINISHED))


def _has_compile_phase(job: Job, config: TrainingConfig, start: Start) -> bool:
    if job.is_test:
        return False
    if job.compile_mode is CompileMode.AUTO:
        return not start.is_compiled and hardware.keeps_graphs(config, job.accelerator)
    return job.compile_mode is CompileMode.ALWAYS


def _compile_phase(
    job: Job, config: TrainingConfig, ranks: Ranks, channel: WorkerChannel, own: Start
) -> "CompilePhase":
    """Return the phase of this start; `own`: what this node's launcher has decided."""
    from .compile_phase.phase import CompilePhase

    store = _compile_store(job, config) if ranks.rank == 0 else None
    holder = lease.myself(os.environ.get(contract.ENV_JOB_UID, ""), os.environ.get(contract.ENV_JOB_NAME, ""))
    handoff = channel if ranks.local_rank == 0 else None
    launch = own.launch if job.compile_mode is CompileMode.ALWAYS else ""
    return CompilePhase(store, holder, handoff, launch, own.is_compiled)


def _compile_store(job: Job, config: TrainingConfig) -> CompileStore | None:
    """Return where it is recorded what was compiled; None where that cannot be written: each start compiles then."""
    family = Family.from_config(config, tokenizer.vocabulary(config))
    cache = compile_cache(config, Path(job.log_dir))
    try:
        return CompileStore.create(cache, record.facts(config, family, job.accelerator))
    except OSError as problem:
        log.warning("no compile phase: %s cannot be written: %s", cache, problem.strerror or problem)
        return None


def _leave(channel: WorkerChannel, ranks: Ranks, outcome: WorkerOutcome | None) -> WorkerOutcome:
    """Meet the other processes, and take the process group down; return the outcome, by default that of a stop.

    The outcome is reported before: the runtime of a device may end the process while it is taken down.
    """
    dist.barrier(hosts.group())  # no rank leaves while another may still need it: agents would take it for a loss
    if outcome is None:
        outcome = WorkerOutcome.PREEMPTED if channel.is_stopping else WorkerOutcome.REJOIN
    channel.report_left(ranks.local_rank, outcome)
    dist.destroy_process_group()
    return outcome


def _memory(job: Job, config: TrainingConfig, ranks: Ranks, run_id: str) -> MemoryTier | None:
    """Return this process's copies in shared memory; None where none are made."""
    if not job.memory_folder or job.is_test:
        return None
    identity = CopyIdentity(
        run_id=run_id,
        config_hash=f"{job.config_hash}:{_model_digest(config)}",
        release=version(),
        rank=ranks.rank,
        world_size=ranks.world_size,
        processes_per_node=job.processes_per_node,
        accelerator=job.accelerator,
    )
    return MemoryTier(Path(job.memory_folder), identity, job.memory_every_steps, job.memory_replicas)


def _model_digest(config: TrainingConfig) -> str:
    """Return a digest of the model's own file, which the configuration only names: it may be edited between starts."""
    if config.model.model_config_path is None:
        return ""
    return hashlib.sha256(repr(sorted(config_json.read(config.model).items())).encode()).hexdigest()[:16]


def _with_memory(start: Start, memory: MemoryTier | None) -> Start:
    """Take the newest step that all processes have in memory, where storage has none newer; a collective.

    Raises `ProgressLostError` where finished steps are in neither.
    """
    if memory is None:
        return start
    stored = read(places.place(start.checkpoint)).step if start.checkpoint and not start.weights_only else 0
    choice = memory.choose(stored)
    if not choice.step and start.loss:
        reasons = f": {'; '.join(choice.passed_over)}" if choice.passed_over else ""
        raise ProgressLostError(f"{start.loss} Shared memory does not have them all either{reasons}.")
    skipped = "; ".join((*([start.skipped] if start.skipped else []), *choice.passed_over))
    return replace(start, memory_step=choice.step, memory_missing=list(choice.missing), skipped=skipped)


def _agree(own: Start) -> Start:
    """Return the checkpoint that global rank 0's launcher has chosen, with the round of this node's own launcher."""
    choice: list[Any] = [own]
    dist.broadcast_object_list(choice, src=0, group=hosts.group())
    start: Start = choice[0]
    return replace(start, round=own.round)
