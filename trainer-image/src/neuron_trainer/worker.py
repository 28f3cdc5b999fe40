"""One rank, from its first instruction to its outcome: the entry function that the elastic agent starts.

Signals: SIGTERM ends a worker at once (the launcher sends it only when nothing is to be saved), SIGINT is the
launcher's, and a worker dies with the process that started it.
"""

import logging
import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import torch
import torch.distributed as dist
from torch.multiprocessing import _prctl_pr_set_pdeathsig  # type: ignore[attr-defined]

from neuron_api import contract
from neuron_api.config import TrainingConfig
from neuron_api.platform.topology import Topology

from . import evaluation, failure_message, fast_dev_run, logs, sequence_length
from .checkpoint import rng
from .errors import InputError, PeerLostError, ReportedError
from .ipc import store_readiness
from .ipc.phases import Phases
from .ipc.worker_channel import Start, WorkerChannel
from .metrics.history import MetricsFile
from .run_directory.log_dir import checkpoints

log = logging.getLogger(__name__)

LOST_WAIT: Final = 120.0
"""Seconds that a worker without peers waits for its launcher to stop it."""

_MIN_TIMEOUT: Final = 30
_DEFAULT_TIMEOUT: Final = 300
"""Seconds until a collective that does not end is fatal: neuron_rt_exec_timeout, not below 30."""


class WorkerOutcome(StrEnum):
    """How a worker that did not fail has ended."""

    FINISHED = "finished"
    PREEMPTED = "preempted"
    """This node was asked to stop; the step is saved."""
    REJOIN = "rejoin"
    """Another node was asked to stop; the step is saved, wait for its replacement."""
    OUT_OF_TIME = "out of time"
    """`trainer.max_time` is over; the step is saved, and another start goes on from it."""
    STOPPED_EARLY = "stopped early"
    """Early stopping ended the training."""


@dataclass(frozen=True, slots=True)
class Job:
    """What all workers of a launcher are given, in every round."""

    resolved: dict[str, Any]
    config_hash: str
    processes_per_node: int
    log_dir: str
    handoff: str
    accelerator: str
    is_test: bool = False
    """`neuron-train test`: a checkpoint is evaluated, nothing is trained."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """Who this process is, as the agent says in the environment."""

    world_size: int
    rank: int
    local_rank: int

    @classmethod
    def from_environment(cls) -> "Ranks":
        """RANK, LOCAL_RANK and WORLD_SIZE."""
        return cls(int(os.environ["WORLD_SIZE"]), int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"]))


def main(job: Job) -> str:
    """The entry point; returns an `Outcome`, or raises."""
    begun = time.monotonic()
    _prctl_pr_set_pdeathsig(signal.SIGKILL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ranks, handoff = Ranks.from_environment(), WorkerChannel(Path(job.handoff))
    handoff.redirect_stderr(ranks.local_rank)
    _show_rank(ranks.rank)
    start = handoff.read_start()
    phases = Phases(begun if start.since is None else start.since, start.phases)
    phases.mark("worker_start")
    config = sequence_length.applied(fast_dev_run.applied(TrainingConfig.model_validate(job.resolved)))
    if job.is_test:
        config = evaluation.applied(config)
    logs.configure(config.exp_manager, Path(job.log_dir), ranks.rank, ranks.local_rank)
    try:
        _initialise(config, job.accelerator)
        phases.mark("rendezvous")
        return _train(job, config, ranks, handoff, start, phases).value
    except InputError as problem:
        handoff.report_refusal(problem)
        raise
    except Exception as problem:
        if not is_peer_loss(problem):
            if (sentence := failure_message.sentence(problem, is_own_module=bool(config.data.data_module))) is None:
                raise
            logs.stack(problem)
            raise ReportedError(sentence) from None
        # Leaving now would look like a failure of this process; the launcher stops it as soon as it has seen the note.
        handoff.report_lost(ranks.local_rank, f"{type(problem).__name__}: {problem}".splitlines()[0])
        time.sleep(LOST_WAIT)
        raise PeerLostError("peers were lost and the launcher did not stop this process") from problem


def _show_rank(rank: int) -> None:
    """`ps`, `top` and py-spy show `rank-3` instead of one more python; where the system has such names."""
    with suppress(OSError):
        Path("/proc/self/comm").write_text(f"rank-{rank}")


def is_peer_loss(problem: BaseException) -> bool:
    """Whether a collective failed because another process is gone, and not because of this one."""
    if isinstance(problem, dist.DistError | PeerLostError):
        return True
    text = str(problem)
    signs = ("gloo", "Connection closed by peer", "Connection reset by peer", "Socket closed", "recvBytes", "sendBytes")
    return isinstance(problem, RuntimeError) and any(sign in text for sign in signs)


def _initialise(config: TrainingConfig, accelerator: str) -> None:
    rng.seed(config.seed)
    seconds = max(_MIN_TIMEOUT, config.neuron_rt_exec_timeout or _DEFAULT_TIMEOUT)
    backend = "gloo" if accelerator == "cpu" else f"cpu:gloo,{accelerator}:{accelerator}"
    if os.environ["RANK"] != "0":
        store_readiness.wait_for_port(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), seconds)
    dist.init_process_group(backend, timeout=timedelta(seconds=seconds))


def _train(
    job: Job, config: TrainingConfig, ranks: Ranks, handoff: WorkerChannel, own: Start, phases: Phases
) -> WorkerOutcome:
    from .loop import testing
    from .loop.run import Run  # Lightning: preloaded in the forkserver, not needed to unpickle this module
    from .loop.stopping import Stop

    start = _agree(own)
    run = Run.build(
        config=config,
        topology=Topology.from_config(config, job.processes_per_node),
        config_hash=job.config_hash,
        device=torch.device(job.accelerator),
        wants_stop=lambda: handoff.is_stopping,
        phases=phases,
        is_fresh=start.checkpoint is None,
    )
    if job.is_test:
        testing.test(run, start, Path(job.log_dir), ranks.rank)
        dist.barrier()
        dist.destroy_process_group()
        return WorkerOutcome.FINISHED
    metrics = MetricsFile(Path(job.log_dir) / contract.METRICS_FILE, handoff.guard) if ranks.rank == 0 else None
    stop = run.fit(
        start,
        log_dir=Path(job.log_dir),
        checkpoints=checkpoints(config, Path(job.log_dir)),
        handoff=handoff if ranks.local_rank == 0 else None,
        metrics=metrics,
        rank=ranks.rank,
    )
    dist.barrier()  # no rank leaves while another may still need it: agents would take it for a loss
    stops_here = handoff.is_stopping
    dist.destroy_process_group()
    if stop is Stop.REQUEST:
        return WorkerOutcome.PREEMPTED if stops_here else WorkerOutcome.REJOIN
    return {Stop.TIME: WorkerOutcome.OUT_OF_TIME, Stop.EARLY: WorkerOutcome.STOPPED_EARLY}.get(
        stop, WorkerOutcome.FINISHED
    )


def _agree(own: Start) -> Start:
    """Global rank 0's launcher has chosen the checkpoint, everyone takes it; rounds are those of one's own launcher."""
    choice: list[Any] = [own]
    dist.broadcast_object_list(choice, src=0)
    start: Start = choice[0]
    return replace(start, round=own.round)
