"""`neuron-train run`: from the text of a configuration to an exit code."""

import logging
import multiprocessing.resource_tracker
import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from neuron_api import contract
from neuron_api.config import TrainingConfig
from neuron_api.contract import ExitCode
from neuron_api.findings.finding import Severity, error, errors_of
from neuron_api.loading.loader import Loaded
from neuron_api.platform import environment
from neuron_api.resource.progress import CheckpointReport, TrainerPhase, final_report
from neuron_api.resource.spec import FromScratch
from neuron_api.schema import effects, support
from neuron_trainer import config_file, evaluation, fast_dev_run, logs, sequence_length
from neuron_trainer.errors import (
    CheckpointError,
    InputError,
    LeaseLostError,
    NotBegunError,
    PeerLostError,
    PreemptedError,
    ProgressLostError,
    StartError,
)
from neuron_trainer.ipc.phases import Phases, process_start
from neuron_trainer.ipc.worker_channel import WorkerChannel
from neuron_trainer.preflight import cpu, early
from neuron_trainer.run_directory.log_dir import checkpoints, log_dir, mirror
from neuron_trainer.run_directory.log_mirror import Mirror
from neuron_trainer.run_directory.resume import EarlierRuns
from neuron_trainer.storage import lease

from . import directory_owner, forkserver, job_file, termination, variables
from .directory_owner import Holding
from .node import Node, settled
from .server import Server
from .status import Status
from .stop import Stop

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ending:
    """How the launcher ends."""

    code: ExitCode
    message: str
    """For people."""
    last_words: str = ""
    """For the operator, in place of the message, where training has ended well."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be done."""

    loaded: Loaded
    config: TrainingConfig
    """What is done of it: `fast_dev_run` or a test change some keys."""
    is_test: bool


def main(path: str, overrides: Sequence[str], *, is_test: bool = False, job: str | None = None) -> int:
    """Everything that a person or the kubelet sees ends here. `job`: which one of a file with several."""
    phases = Phases(process_start())
    phases.mark("process_start")
    logs.console()
    try:
        end = _run(Path(path), overrides, phases, is_test=is_test, job=job)
    except InputError as problem:
        end = Ending(ExitCode.CONFIG, str(problem))
    except ProgressLostError as problem:
        end = Ending(ExitCode.NO_CHECKPOINT, str(problem))
    except (NotBegunError, KeyboardInterrupt):
        forkserver.kill()
        end = Ending(ExitCode.PREEMPTED, "stopped on request before training began")
    except PreemptedError as problem:
        end = Ending(ExitCode.PREEMPTED, f"stopped on request: {problem}")
    except (PeerLostError, LeaseLostError, StartError) as problem:
        end = Ending(ExitCode.ERROR, str(problem))
    log.log(logging.INFO if end.code in (ExitCode.SUCCESS, ExitCode.PREEMPTED) else logging.ERROR, "%s", end.message)
    termination.write(end.last_words or end.message)
    return int(end.code)


def _run(path: Path, overrides: Sequence[str], phases: Phases, *, is_test: bool, job: str | None) -> Ending:
    loaded = _load(path, (*variables.overrides(os.environ), *overrides, *settled(os.environ)), job)
    assert loaded.config is not None
    config = sequence_length.applied(fast_dev_run.applied(loaded.config))
    task = Task(loaded, evaluation.applied(config) if is_test else config, is_test)
    node = Node.of(config)
    early.check(task.config, node.processes, node.seen, is_test=is_test)
    _advise(config, node, loaded)
    os.environ.update(environment.apply(environment.derive(config), os.environ))
    # A store of its own for every round: with the agents' shared one the halves look for each other under different
    # keys after a restart and never meet.
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    os.environ.setdefault("LOGLEVEL", "CRITICAL")  # torch's agent logs every failure again, with its own stack
    if node.host.startswith("127."):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    if node.accelerator == "cpu":
        for name, value in forkserver.ON_CPU.items():
            os.environ.setdefault(name, value)
    handoff = WorkerChannel(Path(tempfile.mkdtemp(prefix="neuron-train-")))
    stop = Stop(handoff)
    stop.listen()  # before the forkserver is there: a stop finds both, or neither
    try:
        forkserver.start(node.processes)
        phases.mark("configuration")
        return _supervise(task, node, handoff, stop, phases)
    finally:
        shutil.rmtree(handoff.folder, ignore_errors=True)


def _advise(config: TrainingConfig, node: Node, loaded: Loaded) -> None:
    """What is worth knowing at the start of a training that nothing is wrong with."""
    for finding in effects.check(config, node.accelerator, loaded.findings):
        log.info("%s", finding)
    if node.accelerator == "cpu" and (advice := cpu.advice(config, cpu.cpuinfo())) is not None:
        log.warning("%s", advice)


def _load(path: Path, overrides: Sequence[str], job: str | None) -> Loaded:
    loaded = job_file.load(config_file.read(path), str(path), overrides, job)
    beyond = support.check(loaded.config, loaded.findings) if loaded.config else ()
    findings = (*loaded.findings, *beyond)
    for finding in findings:
        if finding.severity is not Severity.ERROR:
            log.warning("%s", finding)
    if (errors := errors_of(findings)) or loaded.config is None:
        raise InputError(errors)
    return loaded


def _supervise(task: Task, node: Node, handoff: WorkerChannel, stop: Stop, phases: Phases) -> Ending:
    folder = log_dir(task.config)
    max_steps = task.config.trainer.max_steps
    status = Status(node, handoff, max_steps=max_steps, log_dir=str(folder), config_hash=task.loaded.hash)
    server = Server(status.report, "" if node.is_in_pod else "127.0.0.1", node.progress_port)
    server.start()
    log.info("progress at http://127.0.0.1:%d%s, log directory %s", server.port, contract.PROGRESS_PATH, folder)
    try:
        end = _train(task, node, handoff, status, stop, folder, phases)
        return replace(end, last_words=final_report(status.report())) if end.code is ExitCode.SUCCESS else end
    except BaseException:
        status.set(phase=TrainerPhase.FAILED)
        raise
    finally:
        server.close()


def _train(
    task: Task, node: Node, handoff: WorkerChannel, status: Status, stop: Stop, folder: Path, phases: Phases
) -> Ending:
    # Torch and datasets from here on: 6 s of imports that run beside those of the forkserver.
    from torch.distributed.elastic.agent.server.api import RunResult

    from neuron_trainer.checkpoint import complete
    from neuron_trainer.preflight import preflight
    from neuron_trainer.run_directory import run_identity
    from neuron_trainer.worker import Job

    from . import record, supervisor
    from .agent import Parts, RestartBudget
    from .checkpoint_selector import CheckpointSelector
    from .stderr import Stderr

    loaded, config = task.loaded, task.config
    phases.mark("imports")
    stop.check()
    if (there := mirror(config, folder)) is not None:
        _fetch(there)
    stop.check()
    preflight.check(config, node.processes, folder, node.accelerator, is_test=task.is_test)
    phases.mark("preflight")
    stop.check()
    chooser = CheckpointSelector(config, folder, node.job_uid, lambda: _seen(node, status), is_test=task.is_test)
    done = chooser.finished() if not task.is_test else None
    phases.mark("checkpoint_find")
    stop.check()
    if done is not None:
        found = CheckpointReport(step=done.step, path=str(done.path), time=done.manifest.time)
        status.set(phase=TrainerPhase.SUCCEEDED, step=done.step, checkpoint=found)
        return Ending(ExitCode.SUCCESS, _nothing_left(done.path, done.step, config.trainer.max_steps))
    if task.is_test and not chooser.decide().candidates:
        told = f"there is no complete checkpoint of this run in {folder}: nothing to test."
        raise InputError([error("exp_manager.resume_from_checkpoint", told, "Give one.")])
    can_resume = config.exp_manager.resume_if_exists or node.seen.from_scratch is FromScratch.ALWAYS
    budget = RestartBudget(node.max_process_restarts if can_resume and not task.is_test else 0)
    job = Job(loaded.resolved, loaded.hash, node.processes, str(folder), str(handoff.folder), node.accelerator,
              task.is_test)  # fmt: skip
    with ExitStack() as held, Stderr(handoff, node.processes) as stderr:
        parts = Parts(handoff, status, stop, budget, _own_children(), stderr, phases=phases)
        if node.rank == 0 and not task.is_test:
            parts.check_lease = _hold(held, config, node, folder, handoff, stop).check
            chooser.run_id = run_identity.take(
                folder,
                complete(checkpoints(config, folder)),
                resumes=config.exp_manager.resume_if_exists,
                job_uid=node.job_uid,
            )
            record.write(folder, loaded, config)
        stop.check()
        result: RunResult = supervisor.run(node, job, parts, chooser.choose)
    if result.is_failed():
        status.set(phase=TrainerPhase.FAILED)
        return Ending(ExitCode.ERROR, parts.last_failure or "the processes failed")
    status.set(phase=TrainerPhase.SUCCEEDED)
    if task.is_test:
        return Ending(ExitCode.SUCCESS, f"tested; the loss is in {folder / evaluation.RESULTS_FILE}")
    return Ending(ExitCode.SUCCESS, last_sentence(set(result.return_values.values()), status, folder))


def _nothing_left(path: Path, step: int, max_steps: int) -> str:
    past = f"at step {step}, {step - max_steps} past max_steps {max_steps}" if step > max_steps else "at the last step"
    return f"nothing to do: {path} is {past}" + ("" if step > max_steps else " already")


def last_sentence(outcomes: set[str], status: Status, folder: Path) -> str:
    """How a training has ended that did not fail: whether there is more to do, and how to go on."""
    from neuron_trainer.worker import WorkerOutcome

    report = status.report()
    at = f"at step {report.step}" + (f" of {report.max_steps}" if report.max_steps else "")
    if WorkerOutcome.OUT_OF_TIME in outcomes:
        return (
            f"trainer.max_time is over {at}: training has not ended. To go on from there, start again with "
            f"exp_manager.resume_if_exists and the log directory {folder}."
        )
    return (
        f"early stopping ended the training {at}"
        if WorkerOutcome.STOPPED_EARLY in outcomes
        else f"training has ended {at}"
    )


def _hold(
    held: ExitStack, config: TrainingConfig, node: Node, folder: Path, handoff: WorkerChannel, stop: Stop
) -> Holding:
    """The directories that the run writes to; raises `InputError` where another run has one."""
    holder = lease.myself(node.job_uid, os.environ.get(contract.ENV_JOB_NAME, ""), node.attempt)
    leases = [lease.Lease(one, holder) for one in directory_owner.folders(folder, checkpoints(config, folder))]
    patience = directory_owner.POD_PATIENCE if node.is_in_pod else 0.0
    return held.enter_context(directory_owner.Holding(leases, handoff, stop, patience))


def _seen(node: Node, status: Status) -> EarlierRuns:
    """What the operator said when the pod was made, and what this launcher has seen since."""
    saved = node.seen.saved or status.has_saved
    return replace(node.seen, step=max(node.seen.step, status.step), saved=saved)


def _fetch(there: Mirror) -> None:
    """The address is reached for the first time: what is wrong with it is the user's to fix."""
    try:
        there.fetch()
    except (OSError, CheckpointError) as problem:
        remedy = "Give an address that this pod may read and write."
        raise InputError([error("exp_manager.exp_dir", f"{there.address}: {problem}.", remedy)]) from None


def _own_children() -> set[int]:
    """Children that multiprocessing waits for itself."""
    tracker = vars(multiprocessing.resource_tracker)["_resource_tracker"]
    return {pid for pid in (forkserver.pid(), tracker._pid) if pid is not None}
