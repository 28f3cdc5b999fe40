"""torch's elastic agent with our rules for what a restart costs.

Overridden are the methods that torch documents as extension points of `SimpleElasticAgent`. The restart budget is ours
(`max_restarts` of the spec is 0): only a failure of this node's own process counts, not the loss of a peer.
"""

import json
import logging
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from torch.distributed.elastic.agent.server.api import RunResult, WorkerGroup, WorkerSpec, WorkerState
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure as TorchFailure
from torch.distributed.elastic.rendezvous import RendezvousHandler

from neuron_api.resource.progress import ProcessFailure, TrainerPhase, failure_headline, last_lines
from neuron_trainer.errors import PreemptedError, ReportedError
from neuron_trainer.ipc.phases import Phases
from neuron_trainer.ipc.worker_channel import Start, WorkerChannel
from neuron_trainer.launcher.status import Status
from neuron_trainer.launcher.stop import StopRequest, reap
from neuron_trainer.run_directory.resume import ResumeChoice
from neuron_trainer.worker import Job, WorkerOutcome
from neuron_trainer.worker import main as worker_main

from . import forkserver
from .stderr import Stderr

log = logging.getLogger(__name__)

MONITOR_INTERVAL: Final = 0.05
"""Seconds between two checks of the workers."""
_LOST_GRACE: Final = 0.3
"""Seconds between a worker's note that it lost a peer and the restart: by then a process of our own that died shows."""
_FREE_REJOINS: Final = 3
"""Rounds in a row without a finished step that a lost peer may cost before they count as failures."""
_EXIT_BARRIER: Final = 30.0
"""Seconds that a node whose workers have finished waits for the other agents."""


@dataclass
class RestartBudget:
    """The restarts of this launcher, over all of its agents."""

    remaining: int
    idle_rejoins: int = 0
    rounds: int = 0

    def take(self) -> bool:
        """Use one restart; return False when there is none."""
        self.remaining -= 1
        return self.remaining >= 0

    def take_for_peer(self, made_progress: bool) -> bool:
        """Allow a restart for a lost peer, which is free as long as training makes progress."""
        self.idle_rejoins = 0 if made_progress else self.idle_rejoins + 1
        return self.idle_rejoins <= _FREE_REJOINS or self.take()


class Agent(LocalElasticAgent):
    """Torch's agent with our budget; one serves until its rendezvous store is lost."""

    def __init__(
        self, handler: RendezvousHandler, job: Job, context: "AgentContext", choose: Callable[[], ResumeChoice]
    ) -> None:
        spec = WorkerSpec(
            role="trainer",
            local_world_size=job.processes_per_node,
            entrypoint=worker_main,
            args=(job,),
            rdzv_handler=handler,
            max_restarts=0,
            monitor_interval=MONITOR_INTERVAL,
        )
        logs = DefaultLogsSpecs(log_dir=str(Path(job.channel_folder) / "torchelastic"))
        super().__init__(spec, logs, start_method="forkserver", exit_barrier_timeout=_EXIT_BARRIER)
        self._context, self._choose = context, choose
        self._lost_since: float | None = None
        self._first_step_of_round = 0

    # ---- rounds -----------------------------------------------------------------------------------------------------

    def _rendezvous(self, worker_group: WorkerGroup) -> None:
        context = self._context
        context.status.set(phase=TrainerPhase.RENDEZVOUS)
        context.stop.is_waiting, context.stop.has_steps = True, False
        if context.stop.is_requested:
            raise PreemptedError("SIGTERM before the processes were started")
        super()._rendezvous(worker_group)
        context.stop.is_waiting = False

    def _start_workers(self, worker_group: WorkerGroup) -> dict[int, Any]:
        context = self._context
        self._lost_since, self._first_step_of_round = None, context.status.step
        context.phases.mark("rendezvous")
        context.check_lease()
        choice = self._choose() if worker_group.group_rank == 0 else ResumeChoice()
        context.phases.mark("checkpoint_find")
        context.channel.write_start(
            Start(
                round=context.budget.rounds,
                checkpoint=choice.checkpoint,
                weights_only=choice.weights_only,
                last_step=context.status.step,
                phases=context.phases.seconds,
                since=context.phases.last,
                skipped=choice.skipped,
                text=list(choice.text),
                run_id=choice.run_id,
            )
        )
        context.status.set(phase=TrainerPhase.LOADING, round=context.budget.rounds)
        context.budget.rounds += 1
        context.stderr.begin_again()
        context.stop.check()
        with forkserver.forking():
            started: dict[int, Any] = super()._start_workers(worker_group)
        return started

    def _restart_workers(self, worker_group: WorkerGroup) -> None:
        """Restart; torch calls it, too, when another node waits for a new round before this one has missed it."""
        self._context.phases.begin_again()
        super()._restart_workers(worker_group)

    def _stop_workers(self, _: WorkerGroup) -> None:
        """Kill them: what is to be saved was saved, and a process inside a collective does not react to SIGTERM."""
        self._shutdown(signal.SIGKILL)
        self._context.phases.mark("shutdown")

    # ---- what the workers are doing ---------------------------------------------------------------------------------

    def _monitor_workers(self, worker_group: WorkerGroup) -> RunResult:
        self._context.check_lease()
        reap(self._context.own_children)
        result: RunResult = super()._monitor_workers(worker_group)
        match result.state:
            case WorkerState.SUCCEEDED:
                return self._ended(worker_group, result)
            case WorkerState.FAILED:
                return self._failed(worker_group, result)
            case WorkerState.HEALTHY:
                return self._running(worker_group, result)
        return result

    def _ended(self, worker_group: WorkerGroup, result: RunResult) -> RunResult:
        outcomes = set(result.return_values.values())
        if WorkerOutcome.PREEMPTED in outcomes:
            raise PreemptedError(f"saved at step {self._context.status.step}")
        if WorkerOutcome.REJOIN in outcomes:
            log.info("another node leaves; step %d is saved; waiting for its replacement", self._context.status.step)
            return self._again(worker_group)
        return result

    def _failed(self, worker_group: WorkerGroup, result: RunResult) -> RunResult:
        rank, failure = next(iter(result.failures.items()))
        self._context.record_failure(rank, failure)
        if (refusal := self._context.channel.refusal()) is not None:
            raise refusal
        if self._context.stop.is_requested:
            raise PreemptedError("SIGTERM, and a process failed before it had saved")
        if not self._context.budget.take():
            return result
        log.info("restarting the processes in place; %d restarts left", self._context.budget.remaining)
        return self._again(worker_group)

    def _running(self, worker_group: WorkerGroup, result: RunResult) -> RunResult:
        lost = self._context.channel.lost()
        self._context.stop.has_steps = self._context.status.worker_phase is not TrainerPhase.LOADING
        if self._context.stop.is_requested and (lost or self._context.status.worker_phase is TrainerPhase.LOADING):
            raise PreemptedError("SIGTERM while there was nothing to save")
        if not lost:
            return result
        self._lost_since = self._lost_since or time.monotonic()
        if time.monotonic() - self._lost_since < _LOST_GRACE:
            return result
        log.info("a process elsewhere is gone (%s)", next(iter(lost.values())))
        if not self._context.budget.take_for_peer(self._context.status.step > self._first_step_of_round):
            return RunResult(state=WorkerState.FAILED)
        return self._again(worker_group)

    def _again(self, worker_group: WorkerGroup) -> RunResult:
        """Begin a new round of the same agent; a lost store raises out of `run`."""
        self._restart_workers(worker_group)
        return RunResult(state=WorkerState.HEALTHY)


@dataclass
class AgentContext:
    """What the agents of one launcher share."""

    channel: WorkerChannel
    status: Status
    stop: StopRequest
    budget: RestartBudget
    own_children: set[int]
    """Processes that others wait for: the forkserver and multiprocessing's resource tracker."""
    stderr: Stderr
    check_lease: Callable[[], None] = lambda: None
    """Raises `DirectoryLostError` once another run has the directory."""
    phases: Phases = field(default_factory=Phases)
    """The phases of the round that is being started."""
    last_failure: str = ""
    """The headline and traceback of the newest failure, for the termination message."""

    def record_failure(self, rank: int, failure: TorchFailure) -> None:
        """Add a failure to the report, the log and the termination message."""
        text, headline = _traceback(failure), _signal_name(failure.exitcode)
        if sentence := _sentence(failure):
            text, headline = "", sentence
        elif text:
            headline = text.strip().splitlines()[-1]
        elif tail := self.stderr.tail(failure.local_rank):
            text = f"{tail}\n{headline}"
        self.status.add_failure(
            ProcessFailure(
                time=datetime.now(UTC),
                round=self.budget.rounds - 1,
                rank=rank,
                local_rank=failure.local_rank,
                exit_code=failure.exitcode,
                step=self.status.step,
                message=headline,
                lines=last_lines(text),
            )
        )
        self.last_failure = f"{failure_headline(rank, self.status.step, headline)}\n{text}".strip()
        log.error("%s", self.last_failure)


def _traceback(failure: TorchFailure) -> str:
    """Return the traceback that torch's `record` wrote into the error file of the process."""
    try:
        return str(_message(failure)["extraInfo"]["py_callstack"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _sentence(failure: TorchFailure) -> str:
    """Return the sentence of a `ReportedError`; empty where the process failed in another way."""
    try:
        name, _, sentence = str(_message(failure)["message"]).partition(": ")
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return sentence if name == ReportedError.__name__ else ""


def _message(failure: TorchFailure) -> Any:
    return json.loads(Path(failure.error_file).read_text())["message"]


def _signal_name(code: int) -> str:
    return f"ended by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
