"""What this node reports: the newest report of its workers, completed by what the launcher itself knows."""

import os
import time
from datetime import UTC, datetime
from threading import Lock
from typing import Any, Final

from neuron_api.resource.progress import (
    CheckpointReport,
    ProcessFailure,
    Progress,
    Recovery,
    TrainerPhase,
)
from neuron_trainer.ipc.worker_channel import WorkerChannel
from neuron_trainer.metrics.timeline.time_record import TimeRecord

from .node import NodeIdentity

_MAX_ENTRIES: Final = 32
"""Failures, and recoveries, in a report."""
_WORKER_PHASES: Final = (TrainerPhase.LOADING,)
"""Phases of the launcher that a worker's own phase replaces."""


class Status:
    """The progress of this node; it survives worker restarts and is read by the HTTP server's threads."""

    def __init__(
        self,
        node: NodeIdentity,
        channel: WorkerChannel,
        *,
        max_steps: int,
        log_dir: str,
        config_hash: str,
        since: float | None = None,
    ) -> None:
        """`since`: when the launcher was started, on the monotonic clock."""
        self.time = TimeRecord(channel, since)
        """Where this launcher's time goes."""
        self._channel, self._lock = channel, Lock()
        self._recoveries: dict[int, Recovery] = {}
        self._checkpoint: CheckpointReport | None = None
        self._newest: tuple[object, ...] = ()
        self._newest_time = time.monotonic()
        self._own = Progress(
            job_uid=node.job_uid,
            attempt=node.attempt,
            node_rank=node.rank,
            pod_uid=os.environ.get("NTJ_POD_UID", ""),
            max_steps=max_steps if max_steps > 0 else None,
            start_time=datetime.now(UTC),
            log_dir=log_dir,
            config_hash=config_hash,
        )

    @property
    def step(self) -> int:
        """The newest finished step that this node knows of."""
        return self.report().step

    @property
    def has_saved(self) -> bool:
        """Return whether this node knows of a complete checkpoint of this run, even if it was removed since."""
        return self.report().checkpoint is not None

    @property
    def worker_phase(self) -> TrainerPhase:
        """The phase of the workers of this round; LOADING until they report another."""
        report = self._channel.read_progress()
        return report.phase if report is not None and report.round == self._own.round else TrainerPhase.LOADING

    def set(self, **changes: Any) -> None:
        """Update fields of the launcher's own: `phase`, `round`."""
        with self._lock:
            self._own = self._own.model_copy(update=changes)

    def add_failure(self, failure: ProcessFailure) -> None:
        """Append a failure; the oldest go."""
        with self._lock:
            self._own = self._own.model_copy(update={"failures": (*self._own.failures, failure)[-_MAX_ENTRIES:]})

    def report(self) -> Progress:
        """Return the document of this moment."""
        worker, compilation = self._channel.read_progress(), self._channel.read_compilation()
        update = {"compilation": compilation, "time_spent": self.time.report()}
        with self._lock:
            return self._with_idle(self._merged(worker).model_copy(update=update))

    def _with_idle(self, report: Progress) -> Progress:
        """Add the time without news. News is noticed when a report is read: up to one interval late, never early."""
        news = report.phase, report.round, report.step, report.checkpoint, report.reference, report.compilation
        if news != self._newest:
            self._newest, self._newest_time = news, time.monotonic()
        return report.model_copy(update={"idle_seconds": round(time.monotonic() - self._newest_time, 3)})

    def _merged(self, worker: Progress | None) -> Progress:
        if worker is None:
            return self._own
        self._recoveries |= {recovery.round: recovery for recovery in worker.recoveries}
        self._checkpoint = worker.checkpoint or self._checkpoint
        phase = self._own.phase
        if phase in _WORKER_PHASES and worker.round == self._own.round:
            phase = worker.phase
        return self._own.model_copy(
            update={
                "phase": phase,
                "step": worker.step,
                "max_steps": worker.max_steps or self._own.max_steps,
                "loss": worker.loss,
                "learning_rate": worker.learning_rate,
                "tokens_per_second": worker.tokens_per_second,
                "mfu": worker.mfu,
                "metrics": worker.metrics,
                "records": worker.records,
                "spikes": worker.spikes,
                "newest_spikes": worker.newest_spikes,
                "stragglers": worker.stragglers if worker.round == self._own.round else None,
                "reference": worker.reference,
                "last_step_time": worker.last_step_time,
                "checkpoint": self._checkpoint,
                "resume": worker.resume,
                "recoveries": tuple(list(self._recoveries.values())[-_MAX_ENTRIES:]),
            }
        )
