"""`neuron-train run`, `test` and `compile`: from the text of a configuration to an exit code."""

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from neuron_api import contract
from neuron_api.config import TrainingConfig
from neuron_api.contract import ExitCode
from neuron_api.findings.finding import Severity, errors_of
from neuron_api.loading.loader import Loaded
from neuron_api.platform import environment
from neuron_api.resource.progress import TrainerPhase, final_report
from neuron_api.schema import effects, support
from neuron_trainer import config_file, logs, run_config
from neuron_trainer.errors import (
    CompilationError,
    DirectoryLostError,
    InputError,
    NotBegunError,
    PeerLostError,
    PreemptedError,
    ProgressLostError,
    StartError,
)
from neuron_trainer.ipc import cpu_affinity
from neuron_trainer.ipc.phases import Phases, process_start
from neuron_trainer.ipc.worker_channel import WorkerChannel
from neuron_trainer.preflight import early
from neuron_trainer.run_directory.log_dir import COMPILE_CACHE, compile_cache, log_dir

from . import device_environment, job_file, termination
from .device_environment import CompileFolder
from .elastic import forkserver
from .node import NodeIdentity, size_overrides
from .server import Server
from .status import Status
from .termination import LauncherOutcome, StopRequest

log = logging.getLogger(__name__)


def main(
    path: str,
    overrides: Sequence[str],
    *,
    is_test: bool = False,
    is_compile: bool = False,
    job: str | None = None,
    accelerator: str | None = None,
    memory_every_steps: str | None = None,
) -> int:
    """Run the command; everything that a person or the kubelet sees ends here.

    `job`: the name of the NeuronTrainingJob in a file with several. `accelerator`: by default what the operator says,
    else cpu. `memory_every_steps`: the same, else no copies in memory.
    """
    if memory_every_steps is not None:
        os.environ[contract.ENV_MEMORY_EVERY_STEPS] = memory_every_steps
    if accelerator is not None:
        os.environ[contract.ENV_ACCELERATOR] = accelerator
    phases = Phases(process_start())
    phases.mark("process_start")
    logs.console()
    try:
        outcome = _run(Path(path), overrides, phases, is_test=is_test, is_compile=is_compile, job=job)
    except InputError as problem:
        outcome = LauncherOutcome(ExitCode.CONFIG, str(problem))
    except CompilationError as problem:
        outcome = LauncherOutcome(ExitCode.COMPILATION, str(problem))
    except ProgressLostError as problem:
        outcome = LauncherOutcome(ExitCode.NO_CHECKPOINT, str(problem))
    except (NotBegunError, KeyboardInterrupt):
        forkserver.kill()
        outcome = LauncherOutcome(ExitCode.PREEMPTED, "stopped on request before training began")
    except PreemptedError as problem:
        outcome = LauncherOutcome(ExitCode.PREEMPTED, f"stopped on request: {problem}")
    except (PeerLostError, DirectoryLostError, StartError) as problem:
        outcome = LauncherOutcome(ExitCode.ERROR, str(problem))
    is_expected = outcome.code in (ExitCode.SUCCESS, ExitCode.PREEMPTED)
    log.log(logging.INFO if is_expected else logging.ERROR, "%s", outcome.message)
    termination.write(outcome.final_report or outcome.message)
    return int(outcome.code)


def _run(
    path: Path, overrides: Sequence[str], phases: Phases, *, is_test: bool, is_compile: bool, job: str | None
) -> LauncherOutcome:
    variables = job_file.environment_overrides(os.environ)
    loaded = _load(path, (*variables, *overrides, *size_overrides(os.environ)), job)
    assert loaded.config is not None
    config = run_config.for_training(loaded.config)
    used = run_config.for_test(config) if is_test else config
    node = NodeIdentity.from_environment(config)
    early.check(used, node.processes, node.earlier, is_test=is_test, reads_data=not is_compile)
    if is_compile:
        early.check_compiler(config, node.accelerator)
    _advise(config, node, loaded)
    folder = log_dir(used)
    compile_folder = CompileFolder(compile_cache(config, folder))
    _set_environment(config, node, folder)
    channel = WorkerChannel(Path(tempfile.mkdtemp(prefix="neuron-train-")))
    stop = StopRequest(channel, forkserver.kill)
    stop.listen()  # before the forkserver exists: a stop finds both, or neither
    try:
        forkserver.start(node.processes)
        phases.mark("configuration")
        return _serve_and_train(loaded, used, is_test, is_compile, node, folder, channel, stop, phases)
    except InputError:
        forkserver.kill()
        compile_folder.remove_empty()
        raise
    finally:
        shutil.rmtree(channel.folder, ignore_errors=True)


def _load(path: Path, overrides: Sequence[str], job: str | None) -> Loaded:
    loaded = job_file.load(config_file.read(path), str(path), overrides, job)
    unsupported = support.check(loaded.config, loaded.findings) if loaded.config else ()
    findings = (*loaded.findings, *unsupported)
    for finding in findings:
        if finding.severity is not Severity.ERROR:
            log.warning("%s", finding)
    if (errors := errors_of(findings)) or loaded.config is None:
        raise InputError(errors)
    return loaded


def _advise(config: TrainingConfig, node: NodeIdentity, loaded: Loaded) -> None:
    """Log what is worth knowing about a configuration that nothing is wrong with."""
    for finding in effects.check(config, node.accelerator, loaded.findings):
        log.info("%s", finding)
    if node.accelerator == "cpu" and (advice := early.bf16_advice(config, early.cpuinfo())) is not None:
        log.warning("%s", advice)


def _set_environment(config: TrainingConfig, node: NodeIdentity, folder: Path) -> None:
    """Set the variables that must be set before torch is imported; a user's own values stay where they can."""
    derived = environment.derive(config)
    for sentence in environment.overruled(derived, os.environ):
        log.warning("%s", sentence)
    os.environ.update(environment.apply(derived, os.environ))
    device_environment.append_flags(node.accelerator, os.environ)
    os.environ["TORCH_ELASTIC_WORKER_IDENTICAL"] = "1"  # as many processes on each node: nobody has to tell the others
    os.environ.setdefault("LOGLEVEL", "CRITICAL")  # torch's agent logs every failure again, with its own stack
    if node.host.startswith("127."):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    own = folder / COMPILE_CACHE
    if node.accelerator in device_environment.RUN_FOLDERS:
        own = device_environment.with_locks(own)
    if node.accelerator in cpu_affinity.ACCELERATORS and cpu_affinity.VARIABLE not in os.environ:
        os.environ[cpu_affinity.VARIABLE] = json.dumps(cpu_affinity.near_cores())
    for name, value in device_environment.variables(node.accelerator, compile_cache(config, folder), own, node.rank):
        os.environ.setdefault(name, value)


def _serve_and_train(
    loaded: Loaded,
    config: TrainingConfig,
    is_test: bool,
    is_compile: bool,
    node: NodeIdentity,
    folder: Path,
    channel: WorkerChannel,
    stop: StopRequest,
    phases: Phases,
) -> LauncherOutcome:
    """Train while the server answers; `config`: as this run uses it, `folder`: its log directory."""
    max_steps = config.trainer.max_steps
    status = Status(
        node, channel, max_steps=max_steps, log_dir=str(folder), config_hash=loaded.hash, since=phases.begun
    )
    server = Server(status.report, "" if node.is_in_pod else "127.0.0.1", node.progress_port, folder)
    server.start()
    log.info("progress at http://127.0.0.1:%d%s, log directory %s", server.port, contract.PROGRESS_PATH, folder)
    try:
        from . import training  # torch and datasets: 6 s of imports that run beside those of the forkserver

        launch = training.Launch(loaded, config, is_test, is_compile, node, folder, channel, status, stop, phases)
        outcome = training.train(launch)
        if outcome.code is ExitCode.SUCCESS:
            return replace(outcome, final_report=final_report(status.report()))
        return outcome
    except BaseException:
        status.set(phase=TrainerPhase.FAILED)
        raise
    finally:
        server.close()
