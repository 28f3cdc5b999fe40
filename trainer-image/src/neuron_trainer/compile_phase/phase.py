"""One start's phase: is anything missing, who compiles it, and what is recorded of it."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Final

import torch
import torch.distributed as dist

from neuron_trainer import accelerators
from neuron_trainer.ipc.worker_channel import WorkerChannel
from neuron_trainer.loop.module import TrainingModule
from neuron_trainer.metrics import graphs
from neuron_trainer.parallel import hosts
from neuron_trainer.storage.background_lease import BackgroundLease
from neuron_trainer.storage.lease import DirectoryLease, Holder

from . import compiler_locks
from .passes import passes
from .record import CompileStore
from .reporter import CompileReporter

log = logging.getLogger(__name__)

_TURN: Final = 2.0
"""Seconds between two answers to the processes that wait for rank 0 to have the lock; below every time-out."""
_MAX_TIMES: Final = 4
"""How often a pass is run until it compiles nothing: the second step has the state that the first one made."""


@dataclass(frozen=True, slots=True)
class CompilePhase:
    """One start's phase; all ranks call it together."""

    store: CompileStore | None
    """On rank 0, where it can be written; None elsewhere."""
    holder: Holder | None
    """This run as a holder of the lock, on rank 0."""
    handoff: WorkerChannel | None
    """On local rank 0 of each node."""
    launch: str = ""
    """This node's launcher, where a complete record counts only if all launchers took part in its phase; else empty."""
    has_run: bool = False
    """Whether this launcher's processes have been through a phase."""

    def run(self, build: Callable[[], TrainingModule]) -> bool:
        """Compile what is missing; return False where nothing is, or where there is no place to keep it."""
        launches = self._launches()
        if not self._gap(launches):
            if self.handoff is not None:
                self.handoff.end_compilation()
            return False
        with CompileReporter(self.handoff, self.store) as reporter, self._lock(reporter):
            if not (gap := self._gap(launches)):
                return False
            if self.store is not None:
                log.info("compile phase: %s", gap)
                compiler_locks.remove(self.store.cache, self.store.folder)
            _broadcast(None)  # nobody compiles before
            begun = time.monotonic()
            total = self._compile(build(), reporter)
            if self.store is not None:
                seconds, done = time.monotonic() - begun, reporter.counts.done
                self.store.write(graphs=done, compiled=total, seconds=seconds, complete=True, launches=launches or ())
                log.info("compile phase: %d graphs, %d compiled by all processes, %.1f s", done, total, seconds)
        return True

    def _launches(self) -> frozenset[str] | None:
        """Return the launchers of this round; None where all of them have been through a phase, as after one whose
        record could not be written."""
        if not self.launch:
            return frozenset()
        every: list[Any] = [None] * dist.get_world_size(hosts.group())
        dist.all_gather_object(every, (self.launch, self.has_run), group=hosts.group())
        return None if all(has_run for _, has_run in every) else frozenset(launch for launch, _ in every)

    def _gap(self, launches: frozenset[str] | None) -> str:
        """Return why a phase is needed, the same on all ranks."""
        gap = "" if self.store is None or launches is None else self.store.gap(launches)
        return str(_broadcast(gap))

    @contextmanager
    def _lock(self, reporter: "CompileReporter") -> Iterator[None]:
        """Hold the lock on rank 0; the others are answered in turns, since no collective may take that long."""
        lease = DirectoryLease(self.store.folder, self.holder) if self.store and self.holder else None
        with BackgroundLease(lease) if lease is not None else nullcontext() as lock:
            while not _broadcast(lock is not None and lock.wait(_TURN)):
                reporter.wait_for(lock.holder if lock is not None else None)
            reporter.wait_for(None)
            yield

    def _compile(self, module: TrainingModule, reporter: "CompileReporter") -> int:
        """Return how many graphs all processes have compiled."""
        for name, execute in passes(module):
            reporter.part = name
            for _ in range(_MAX_TIMES):
                before = graphs.count().done
                execute()
                accelerators.raise_deferred(module.backend.device)
                if not module.backend.begin_vote(graphs.count().done > before)().wishes[0]:
                    break
        counts = torch.tensor([float(reporter.update().compiled)])
        dist.all_reduce(counts, group=hosts.group())
        return int(counts)


def _broadcast(value: Any) -> Any:
    """Return rank 0's value on every rank."""
    values = [value]
    dist.broadcast_object_list(values, src=0, group=hosts.group())
    return values[0]
