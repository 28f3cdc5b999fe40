"""What a node reports of its compile phase, from a thread: the compiler has the main one."""

import logging
import threading
from datetime import UTC, datetime
from types import TracebackType
from typing import Final

from neuron_api.resource.progress import CompileReport
from neuron_trainer.ipc.worker_channel import WorkerChannel
from neuron_trainer.metrics import graphs
from neuron_trainer.metrics.graphs import GraphCounts
from neuron_trainer.storage.lease import Holder

from .record import CompileStore

log = logging.getLogger(__name__)

_POLL: Final = 0.5
"""Seconds between two looks at the counts."""


class CompileReporter:
    """Reports the phase of this node, as its local rank 0 sees it."""

    def __init__(self, handoff: WorkerChannel | None, store: CompileStore | None) -> None:
        self._handoff, self._store = handoff, store
        self._since = self._time = datetime.now(UTC)
        self._first = graphs.count()
        record = store.read() if store is not None else None
        self._expected = record.graphs if record is not None else 0
        self._holder, self._of_holder = "", 0
        self.part = ""
        """What is being compiled."""
        self.counts = GraphCounts()
        self._ends, self._mutex = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._run, name="compile-report", daemon=True)

    def __enter__(self) -> "CompileReporter":
        self._write()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self._ends.set()
        self._thread.join()
        self.update()
        self._write(complete=kind is None)

    def update(self) -> GraphCounts:
        """Look at the counts; what is new is reported, and recorded as an unfinished phase's."""
        with self._mutex:
            counts = graphs.count().since(self._first)
            if counts != self.counts:
                self.counts, self._time = counts, datetime.now(UTC)
                self._expected = max(self._expected, counts.done + counts.begun)
                self._record()
                self._write()
            return counts

    def _record(self) -> None:
        if self._store is not None:
            seconds = (self._time - self._since).total_seconds()
            self._store.write(graphs=self._expected, compiled=self.counts.compiled, seconds=seconds, complete=False)

    def wait_for(self, holder: Holder | None) -> None:
        """Report who compiles the same, and how far that is; its renewals are no news, so that a wait without end
        shows."""
        text = str(holder) if holder is not None else ""
        record = self._store.read() if text and self._store is not None else None
        expected = max(self._expected, record.graphs if record is not None else 0)
        if text and text != self._holder:
            log.info("the same graphs are being compiled by %s; waiting for them", text)
        news = text, expected, record.compiled if record is not None else 0
        if news != (self._holder, self._expected, self._of_holder):
            self._holder, self._expected, self._of_holder = news
            self._time = datetime.now(UTC)
            self._write()

    def _run(self) -> None:
        while not self._ends.wait(_POLL):
            self.update()

    def _write(self, *, complete: bool = False) -> None:
        if self._handoff is None:
            return
        report = CompileReport(
            part=self.part,
            done=self.counts.done,
            expected=self._expected,
            compiled=self.counts.compiled,
            since=self._since,
            time=self._time,
            complete=complete,
            holder=self._holder,
        )
        self._handoff.write_compilation(report)
