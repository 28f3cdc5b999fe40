"""The part of a start that needs torch: the checkpoint to resume from, the pre-flight, the directory, the rounds."""

import logging
import multiprocessing.resource_tracker
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from torch.distributed.elastic.agent.server.api import RunResult

from neuron_api import contract, memory_copies
from neuron_api.config import TrainingConfig
from neuron_api.contract import ExitCode
from neuron_api.derive import architecture
from neuron_api.findings.finding import error
from neuron_api.loading.loader import Loaded
from neuron_api.resource.progress import CheckpointReport, TrainerPhase
from neuron_api.resource.spec import CompileMode, FromScratch, MemoryCheckpoints
from neuron_trainer import accelerators
from neuron_trainer.checkpoint import Candidate, complete
from neuron_trainer.data import source
from neuron_trainer.errors import CheckpointError, InputError, ProgressLostError
from neuron_trainer.ipc.phases import Phases
from neuron_trainer.ipc.worker_channel import WorkerChannel
from neuron_trainer.models import config_json
from neuron_trainer.preflight import preflight, shared_memory
from neuron_trainer.run_config import RESULTS_FILE
from neuron_trainer.run_directory import recorded_files, run_identity
from neuron_trainer.run_directory.log_dir import Mirror, checkpoints, compile_cache, mirror
from neuron_trainer.run_directory.resume import EarlierRuns, ResumeChoice
from neuron_trainer.storage import lease
from neuron_trainer.worker import Job

from . import directory_owner, termination
from .checkpoint_selector import CheckpointSelector
from .directory_owner import DirectoryOwner
from .elastic import forkserver, supervisor
from .elastic.shared_state import RestartBudget, SharedState
from .elastic.stderr import Stderr
from .memory_folder import MemoryFolder
from .node import NodeIdentity
from .status import Status
from .termination import LauncherOutcome, StopRequest

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Launch:
    """A run on this node, with what lives as long as its launcher."""

    loaded: Loaded
    config: TrainingConfig
    """The configuration as this run uses it (`run_config`)."""
    is_test: bool
    is_compile: bool
    """`neuron-train compile`: only the compile phase, without data."""
    node: NodeIdentity
    folder: Path
    """The log directory."""
    channel: WorkerChannel
    status: Status
    stop: StopRequest
    phases: Phases

    def end_phase(self, name: str) -> None:
        """Raise `NotBegunError` where a signal has arrived in this phase of the start."""
        self.phases.mark(name)
        self.stop.check()


def train(launch: Launch) -> LauncherOutcome:
    """Run or test; raises `TrainerError`s that `start` turns into an exit code."""
    node, config, folder, is_test = launch.node, launch.config, launch.folder, launch.is_test
    launch.end_phase("imports")
    if (log_mirror := mirror(config, folder)) is not None:
        fetch(log_mirror)
    launch.stop.check()
    device = preflight.DeviceChoice(node.accelerator, node.accelerator_key)
    preflight.check(config, node.processes, folder, device, is_test=is_test, reads_data=not launch.is_compile)
    launch.end_phase("preflight")
    if launch.is_compile:
        return _compile(launch)
    copies = MemoryFolder(folder, node.job_uid, node.rank)
    copies.sweep(has_copies=node.memory is not None or is_test)
    if node.memory is not None and not is_test:
        _check_memory(node.memory, config, copies.path, node.accelerator)
    selector = CheckpointSelector(
        config, folder, node.job_uid, lambda: _earlier_runs(node, launch.status), is_test=is_test
    )
    last = _finished(selector, node) if not is_test else None
    launch.end_phase("checkpoint_find")
    if last is not None:
        copies.remove()
        report = CheckpointReport(step=last.step, path=str(last.path), time=last.manifest.time)
        launch.status.set(phase=TrainerPhase.SUCCEEDED, step=last.step, checkpoint=report)
        message = termination.nothing_to_do(last.path, last.step, config.trainer.max_steps)
        return LauncherOutcome(ExitCode.SUCCESS, message)
    if is_test and not selector.decide().candidates:
        message = f"there is no complete checkpoint of this run in {folder}: nothing to test."
        raise InputError([error("exp_manager.resume_from_checkpoint", message, "Give one.")])
    return _run_rounds(launch, selector.choose, selector)


def _check_memory(copies: MemoryCheckpoints, config: TrainingConfig, folder: Path, accelerator: str) -> None:
    """Raise `InputError` where the copies of this node cannot fit; that depends on the model's sizes."""
    sizes = None
    if config.model_source == "hf":
        sizes, _ = architecture.from_json(config_json.read(config.model), config.model)
    is_native = accelerator != "xla"
    needed = memory_copies.of_config(copies, config, is_native=is_native, model=sizes)
    if needed is not None:
        processes = memory_copies.of_processes(config, model=sizes) if accelerators.get(accelerator).is_host else 0
        shared_memory.check(needed, processes or 0, folder)


def _finished(selector: CheckpointSelector, node: NodeIdentity) -> Candidate | None:
    """Return a checkpoint at the last step; where steps are lost in storage, memory may have them."""
    try:
        return selector.finished()
    except ProgressLostError:
        if node.memory is None:
            raise
        return None


def _with_memory(choose: Callable[[], ResumeChoice], selector: CheckpointSelector) -> ResumeChoice:
    """Return the choice; where storage does not allow a start, memory may, which the processes know together."""
    try:
        return choose()
    except ProgressLostError as problem:
        return ResumeChoice(run_id=selector.run_id, loss=str(problem))


def _compile(launch: Launch) -> LauncherOutcome:
    """Run the compile phase alone; the run of the log directory is not touched."""
    node = replace(launch.node, compile_mode=CompileMode.ALWAYS)
    cache = compile_cache(launch.config, launch.folder)
    if not launch.config.compiler_cache_url:
        log.warning("compiler_cache_url is not set: graphs go to %s, where runs of other directories miss them", cache)
    return _run_rounds(replace(launch, node=node), ResumeChoice)


def _run_rounds(
    launch: Launch, choose: Callable[[], ResumeChoice], selector: CheckpointSelector | None = None
) -> LauncherOutcome:
    """Start the processes until they have ended for good; `selector`: of a run that writes."""
    node, config, folder, is_test, status = launch.node, launch.config, launch.folder, launch.is_test, launch.status
    can_resume = config.exp_manager.resume_if_exists or node.earlier.from_scratch is FromScratch.ALWAYS
    budget = RestartBudget(node.max_process_restarts if can_resume and not is_test else 0)
    memory = node.memory if selector is not None and not is_test else None
    folder_in_memory = _memory_folder(launch) if memory is not None else None
    job = Job(
        resolved=launch.loaded.resolved,
        config_hash=launch.loaded.hash,
        processes_per_node=node.processes,
        log_dir=str(folder),
        channel_folder=str(launch.channel.folder),
        accelerator=node.accelerator,
        is_test=is_test,
        compile_mode=node.compile_mode,
        compiles_only=launch.is_compile,
        memory_folder=str(folder_in_memory.path) if folder_in_memory is not None else "",
        memory_every_steps=memory.every_steps if memory is not None else 0,
        memory_replicas=memory.replicas if memory is not None else 0,
    )
    with ExitStack() as stack, Stderr(launch.channel, node.processes) as stderr:
        shared = SharedState(launch.channel, status, launch.stop, budget, _own_children(), stderr, phases=launch.phases)
        if selector is not None and node.rank == 0 and not is_test:
            shared.check_lease = stack.enter_context(_directory_owner(launch)).check
            selector.run_id = _begin_run(launch)
            stack.enter_context(status.time.recording(folder, lambda: status.step, shared.check_lease))
        if folder_in_memory is not None and selector is not None:
            stack.enter_context(folder_in_memory)
            choose = partial(_with_memory, choose, selector)
        launch.stop.check()
        result: RunResult = supervisor.run(node, job, shared, choose)
        if folder_in_memory is not None:
            folder_in_memory.is_over = not result.is_failed() and not launch.stop.is_requested
    if result.is_failed():
        status.set(phase=TrainerPhase.FAILED)
        return LauncherOutcome(ExitCode.ERROR, shared.last_failure or "the processes failed")
    status.set(phase=TrainerPhase.SUCCEEDED)
    if is_test:
        return LauncherOutcome(ExitCode.SUCCESS, f"tested; the loss is in {folder / RESULTS_FILE}")
    if launch.is_compile:
        report, cache = status.report().compilation, compile_cache(config, folder)
        return LauncherOutcome(ExitCode.SUCCESS, termination.compiled(report, cache))
    outcomes = set(result.return_values.values())
    return LauncherOutcome(ExitCode.SUCCESS, termination.last_sentence(outcomes, status.report(), folder))


def _memory_folder(launch: Launch) -> MemoryFolder:
    """Return the folder of this node's copies in memory."""

    def stored() -> int:
        return max((saved.step for saved in complete(checkpoints(launch.config, launch.folder))), default=0)

    return MemoryFolder(launch.folder, launch.node.job_uid, launch.node.rank, stored=stored)


def _directory_owner(launch: Launch) -> DirectoryOwner:
    """Return the owner of the directories that the run writes to; entering it raises `InputError` where another run
    has one."""
    node, places = launch.node, checkpoints(launch.config, launch.folder)
    holder = lease.myself(node.job_uid, os.environ.get(contract.ENV_JOB_NAME, ""), node.attempt)
    leases = [lease.DirectoryLease(folder, holder) for folder in directory_owner.folders(launch.folder, places)]
    patience = directory_owner.POD_PATIENCE if node.is_in_pod else 0.0
    return DirectoryOwner(leases, launch.channel, launch.stop, patience)


def _begin_run(launch: Launch) -> str:
    """Record this start in the log directory; return the id of its run."""
    config, folder = launch.config, launch.folder
    run_id = run_identity.take(
        folder,
        complete(checkpoints(config, folder)),
        resumes=config.exp_manager.resume_if_exists,
        job_uid=launch.node.job_uid,
    )
    recorded_files.write_start(folder, launch.loaded, config.exp_manager.files_to_copy or ())
    if note := source.order_note(config):
        log.info("%s", note)
    return run_id


def _earlier_runs(node: NodeIdentity, status: Status) -> EarlierRuns:
    """Return what the operator knew when the pod was created, and what this launcher has observed since."""
    saved = node.earlier.saved or status.has_saved
    return replace(node.earlier, step=max(node.earlier.step, status.step), saved=saved)


def fetch(log_mirror: Mirror) -> None:
    """Fetch the log directory from its address; raises `InputError`, since the address is the user's to fix."""
    try:
        log_mirror.fetch()
    except (OSError, CheckpointError) as problem:
        remedy = "Give an address that this pod may read and write."
        raise InputError([error("exp_manager.exp_dir", f"{log_mirror.address}: {problem}.", remedy)]) from None


def _own_children() -> set[int]:
    """Return the children that multiprocessing waits for itself."""
    tracker = vars(multiprocessing.resource_tracker)["_resource_tracker"]
    return {pid for pid in (forkserver.pid(), tracker._pid) if pid is not None}
