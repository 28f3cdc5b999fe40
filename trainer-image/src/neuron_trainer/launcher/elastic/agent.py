"""torch's elastic agent with our rules for what a restart costs.

Overridden are the methods that torch documents as extension points of `SimpleElasticAgent`. The restart budget is ours
(`max_restarts` of the spec is 0): only a failure of this node's own process counts, not the loss of a peer.
"""

import logging
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from torch.distributed.elastic.agent.server.api import RunResult, WorkerGroup, WorkerSpec, WorkerState
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure as TorchFailure
from torch.distributed.elastic.rendezvous import RendezvousHandler

from neuron_api.resource.progress import TrainerPhase
from neuron_api.timeline import Activity
from neuron_trainer import accelerators
from neuron_trainer.errors import PreemptedError
from neuron_trainer.ipc import signals
from neuron_trainer.ipc.worker_channel import Start
from neuron_trainer.launcher.termination import reap
from neuron_trainer.run_directory.resume import ResumeChoice
from neuron_trainer.worker import Job, WorkerOutcome
from neuron_trainer.worker import main as worker_main

from . import forkserver
from .failure import Verdict, first_fall, judge, signal_name
from .shared_state import SharedState

log = logging.getLogger(__name__)

MONITOR_INTERVAL: Final = 0.05
"""Seconds between two checks of the workers."""
_LOST_GRACE: Final = 0.3
"""Seconds between a worker's note that it lost a peer and the restart: by then a process of our own that died shows."""
_EXIT_BARRIER: Final = 30.0
"""Seconds that a node whose workers have finished waits for the other agents."""
_DEVICE_PAUSE: Final = 2.0
"""Seconds between two attempts."""


class Agent(LocalElasticAgent):
    """Torch's agent with our budget; one serves until its rendezvous store is lost."""

    def __init__(
        self, handler: RendezvousHandler, job: Job, shared: SharedState, choose: Callable[[], ResumeChoice]
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
        self._job, self._shared, self._choose = job, shared, choose
        self._accelerator = accelerators.get(job.accelerator)
        self._lost_since: float | None = None
        self._first_step_of_round = 0

    # ---- rounds -----------------------------------------------------------------------------------------------------

    def _rendezvous(self, worker_group: WorkerGroup) -> None:
        shared = self._shared
        shared.status.set(phase=TrainerPhase.RENDEZVOUS)
        shared.status.time.enter(Activity.RENDEZVOUS)
        shared.stop.is_waiting, shared.stop.has_steps = True, False
        if shared.stop.is_requested:
            raise PreemptedError(f"{shared.stop.signal.name} before the processes were started")
        super()._rendezvous(worker_group)
        shared.stop.is_waiting = False

    def _start_workers(self, worker_group: WorkerGroup) -> dict[int, Any]:
        shared = self._shared
        self._lost_since, self._first_step_of_round = None, shared.status.step
        shared.phases.mark("rendezvous")
        shared.status.time.enter(Activity.START, at=shared.phases.last)
        shared.check_lease()
        choice = self._choose() if worker_group.group_rank == 0 else ResumeChoice()
        shared.phases.mark("checkpoint_find")
        shared.channel.write_start(
            Start(
                round=shared.budget.rounds,
                checkpoint=choice.checkpoint,
                weights_only=choice.weights_only,
                last_step=shared.status.step,
                phases=shared.phases.seconds,
                since=shared.phases.last,
                skipped=choice.skipped,
                text=list(choice.text),
                run_id=choice.run_id,
                is_compiled=shared.is_compiled,
                launch=shared.launch,
                loss=choice.loss,
            )
        )
        shared.status.set(phase=TrainerPhase.LOADING, round=shared.budget.rounds)
        shared.status.time.begin_round(shared.budget.rounds, at=shared.phases.last)
        shared.budget.rounds += 1
        shared.stderr.begin_again()
        shared.stop.check()
        with forkserver.forking():
            started: dict[int, Any] = super()._start_workers(worker_group)
        signals.end_with_own_signal(vars(self._pcontext)["_pc"].processes)
        return started

    def _restart_workers(self, worker_group: WorkerGroup) -> None:
        """Restart; torch calls it, too, when another node waits for a new round before this one has missed it."""
        self._shared.phases.begin_again()
        self._shared.status.time.enter(Activity.START, at=self._shared.phases.last)
        super()._restart_workers(worker_group)

    def _stop_workers(self, _: WorkerGroup) -> None:
        """Kill them: what is to be saved was saved, and a process inside a collective does not react to SIGTERM."""
        self._shutdown(signal.SIGKILL)
        self._shared.phases.mark("shutdown")

    # ---- what the workers are doing ---------------------------------------------------------------------------------

    def _monitor_workers(self, worker_group: WorkerGroup) -> RunResult:
        self._shared.check_lease()
        reap(self._shared.own_children)
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
            raise PreemptedError(f"saved at step {self._shared.status.step}")
        if WorkerOutcome.COMPILED in outcomes and not self._job.compiles_only:
            log.info("compiled; training begins in new processes")
            self._shared.is_compiled = True
            self._shared.budget.rounds -= 1  # training's first round is the one that it would have been
            return self._again(worker_group)
        if WorkerOutcome.REJOIN in outcomes:
            log.info("another node leaves; step %d is saved; waiting for its replacement", self._shared.status.step)
            return self._again(worker_group)
        return result

    def _failed(self, worker_group: WorkerGroup, result: RunResult) -> RunResult:
        channel = self._shared.channel
        if (refusal := channel.refusal() or channel.compiler_refusal() or channel.progress_loss()) is not None:
            raise refusal  # in one message; the stack of the process that found it says nothing more
        rank, failure = self._first_fall(worker_group, result)
        match self._judge(failure):
            case Verdict.COMPLETE:
                log.warning("rank %d was %s after its work was done", rank, signal_name(failure.exitcode))
                outcomes = self._shared.channel.departures()
                return self._ended(worker_group, RunResult(state=WorkerState.SUCCEEDED, return_values=outcomes))
            case Verdict.PEER if not self._shared.stop.is_requested:
                return self._peer_lost(worker_group, f"rank {rank} was {signal_name(failure.exitcode)}", result)
            case Verdict.DEVICE_BUSY if self._waits_for_device():
                return self._again(worker_group)
        self._shared.record_failure(rank, failure)
        if self._shared.stop.is_requested:
            raise PreemptedError(f"{self._shared.stop.signal.name}, and a process failed before it had saved")
        if not self._shared.budget.take():
            return result
        log.info("restarting the processes in place; %d restarts left", self._shared.budget.remaining)
        return self._again(worker_group)

    def _running(self, worker_group: WorkerGroup, result: RunResult) -> RunResult:
        lost = self._shared.channel.lost()
        self._shared.stop.has_steps = self._shared.status.worker_phase is not TrainerPhase.LOADING
        if self._shared.stop.is_requested and (lost or self._shared.status.worker_phase is TrainerPhase.LOADING):
            raise PreemptedError(f"{self._shared.stop.signal.name} while there was nothing to save")
        if not lost:
            return result
        self._lost_since = self._lost_since or time.monotonic()
        if time.monotonic() - self._lost_since < _LOST_GRACE:
            return result
        return self._peer_lost(worker_group, next(iter(lost.values())))

    def _first_fall(self, worker_group: WorkerGroup, result: RunResult) -> tuple[int, TorchFailure]:
        """Return rank and failure of the process that fell first: of several that it finds fallen torch names the one
        of the lowest rank, and an abort may be the answer to another's fall."""
        rank, failure = next(iter(result.failures.items()))
        processes = self._pcontext._pc.processes if self._pcontext is not None else []  # type: ignore[attr-defined]
        codes = {local_rank: process.exitcode for local_rank, process in enumerate(processes)}
        local_rank = first_fall(failure.local_rank, codes)
        if local_rank == failure.local_rank:
            return rank, failure
        errors = self._pcontext.error_files[local_rank]  # type: ignore[union-attr]
        other = TorchFailure(local_rank, processes[local_rank].pid, codes[local_rank], errors)
        return worker_group.workers[local_rank].global_rank, other

    def _judge(self, failure: TorchFailure) -> Verdict:
        text = "\n".join(self._shared.description(failure))
        departures = self._shared.channel.departures()
        return judge(self._accelerator, failure.exitcode, text, failure.local_rank, departures)

    def _peer_lost(self, worker_group: WorkerGroup, text: str, result: RunResult | None = None) -> RunResult:
        log.info("a process elsewhere is gone (%s)", text)
        if self._shared.budget.take_for_peer(self._has_progress):
            return self._again(worker_group)
        for rank, failure in (result.failures if result is not None else {}).items():
            self._shared.record_failure(rank, failure)
        return RunResult(state=WorkerState.FAILED)

    def _waits_for_device(self) -> bool:
        """Wait for a device that was not free, where that is worth it; a signal ends the wait."""
        shared = self._shared
        now = time.monotonic()
        if shared.stop.is_requested or not shared.budget.take_for_device(self._has_progress, now):
            return False
        log.info("a device is not free yet: another process, or one that is ending, has it; trying again")
        shared.stop.is_waiting = True
        time.sleep(_DEVICE_PAUSE)
        return True

    @property
    def _has_progress(self) -> bool:
        """Return whether a step was finished in this round."""
        return self._shared.status.step > self._first_step_of_round

    def _again(self, worker_group: WorkerGroup) -> RunResult:
        """Begin a new round of the same agent; a lost store raises out of `run`."""
        self._restart_workers(worker_group)
        return RunResult(state=WorkerState.HEALTHY)
