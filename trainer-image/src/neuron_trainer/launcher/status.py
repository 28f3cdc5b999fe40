"""What this node reports: the launcher's own knowledge over the newest report of its workers."""

import os
import time
from datetime import UTC, datetime
from threading import Lock
from typing import Any, Final

from neuron_api.resource.progress import CheckpointReport, ProcessFailure, Progress, Recovery, TrainerPhase
from neuron_trainer.ipc.worker_channel import WorkerChannel

from .node import Node

_KEPT: Final = 32
_WORKERS: Final = (TrainerPhase.LOADING,)
"""Phases of the launcher that a worker's own phase replaces."""


class Status:
    """Survives worker restarts; read by the HTTP server's threads."""

    def __init__(self, node: Node, handoff: WorkerChannel, *, max_steps: int, log_dir: str, config_hash: str) -> None:
        self._handoff, self._lock = handoff, Lock()
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
        """Newest finished step that this node knows of."""
        return self.report().step

    @property
    def has_saved(self) -> bool:
        """Whether this node knows of a complete checkpoint of this run, be it there still or not."""
        return self.report().checkpoint is not None

    @property
    def worker_phase(self) -> TrainerPhase:
        """Where the workers of this round are; LOADING until they say otherwise."""
        report = self._handoff.read_progress()
        return report.phase if report is not None and report.round == self._own.round else TrainerPhase.LOADING

    def set(self, **changes: Any) -> None:
        """Update own fields: `phase`, `round`."""
        with self._lock:
            self._own = self._own.model_copy(update=changes)

    def add_failure(self, failure: ProcessFailure) -> None:
        """Newest last; the oldest go."""
        with self._lock:
            self._own = self._own.model_copy(update={"failures": (*self._own.failures, failure)[-_KEPT:]})

    def report(self) -> Progress:
        """The document of this moment."""
        worker = self._handoff.read_progress()
        with self._lock:
            return self._with_idle(self._merged(worker))

    def _with_idle(self, report: Progress) -> Progress:
        """Noticed when somebody asks, so up to the time between two questions too late: never too early."""
        news = report.phase, report.round, report.step, report.checkpoint
        if news != self._newest:
            self._newest, self._newest_time = news, time.monotonic()
        return report.model_copy(update={"idle_seconds": round(time.monotonic() - self._newest_time, 3)})

    def _merged(self, worker: Progress | None) -> Progress:
        if worker is None:
            return self._own
        self._recoveries |= {recovery.round: recovery for recovery in worker.recoveries}
        self._checkpoint = worker.checkpoint or self._checkpoint
        phase = self._own.phase
        if phase in _WORKERS and worker.round == self._own.round:
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
                "last_step_time": worker.last_step_time,
                "checkpoint": self._checkpoint,
                "resume": worker.resume,
                "recoveries": tuple(list(self._recoveries.values())[-_KEPT:]),
            }
        )
