"""The compile phase: what a run needs is compiled before it begins, once for all runs with the same fingerprint.

It runs in the processes of the run, on their devices and with their split, and trains a model of its own on random
tokens; the processes end with it, so that nothing of it reaches the run (docs/design/025-compile-phase.md).
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final

import torch
import torch.distributed as dist
from torch import Tensor

from neuron_api.config import TrainingConfig
from neuron_api.derive import alignment
from neuron_api.resource.progress import CompileReport, Progress, TrainerPhase
from neuron_trainer import accelerators
from neuron_trainer.ipc.worker_channel import Start, WorkerChannel
from neuron_trainer.metrics import graphs
from neuron_trainer.metrics.graphs import GraphCounts
from neuron_trainer.parallel import Share, hosts
from neuron_trainer.run_directory.compile_record import CompileStore
from neuron_trainer.storage.background_lease import BackgroundLease
from neuron_trainer.storage.lease import DirectoryLease, Holder

from . import reference
from .module import TrainingModule
from .step import Gradients

log = logging.getLogger(__name__)

_TURN: Final = 2.0
"""Seconds between two answers to the processes that wait for rank 0 to have the lock; below every time-out."""
_POLL: Final = 0.5
"""Seconds between two looks at the counts."""
_MAX_TIMES: Final = 4
"""How often a part is run until it compiles nothing: the second step has the state that the first one made."""


@dataclass(frozen=True, slots=True)
class CompilePhase:
    """One start's phase; all ranks call it together."""

    store: CompileStore | None
    """On rank 0, where it can be written; None elsewhere."""
    holder: Holder | None
    """This run as a holder of the lock, on rank 0."""
    handoff: WorkerChannel | None
    """On local rank 0 of each node."""
    start: Start
    is_forced: bool
    """Whether a complete record does not count."""

    def run(self, build: Callable[[], TrainingModule]) -> bool:
        """Compile what is missing; return False where nothing is, or where there is no place to keep it."""
        if self._is_needless():
            return False
        with CompileReporter(self.handoff, self.start, self.store) as reporter, self._lock(reporter):
            if self._is_needless():
                return False
            begun = time.monotonic()
            total = self._compile(build(), reporter)
            if self.store is not None:
                seconds, done = time.monotonic() - begun, reporter.counts.done
                self.store.write(graphs=done, compiled=total, seconds=seconds, complete=True)
                log.info("compile phase: %d graphs, %d compiled by all processes, %.1f s", done, total, seconds)
        return True

    def _is_needless(self) -> bool:
        return bool(_broadcast(self.store is None or (not self.is_forced and self.store.is_complete)))

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
        for name, execute in _parts(module):
            reporter.part = name
            for _ in range(_MAX_TIMES):
                before = graphs.count().done
                execute()
                if not module.backend.begin_vote(graphs.count().done > before)()[0]:
                    break
        counts = torch.tensor([float(reporter.update().compiled)])
        dist.all_reduce(counts, group=hosts.group())
        return int(counts)


class CompileReporter:
    """Reports the phase of this node, as its local rank 0 sees it, from a thread: the compiler has the main one."""

    def __init__(self, handoff: WorkerChannel | None, start: Start, store: CompileStore | None) -> None:
        self._handoff, self._start, self._store = handoff, start, store
        self._since = self._time = datetime.now(UTC)
        self._first = graphs.count()
        record = store.read() if store is not None else None
        self._known = record.graphs if record is not None else 0
        self._holder = ""
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
                self._known = max(self._known, counts.done + counts.begun)
                self._record()
                self._write()
            return counts

    def _record(self) -> None:
        if self._store is not None:
            seconds = (self._time - self._since).total_seconds()
            self._store.write(graphs=self._known, compiled=self.counts.compiled, seconds=seconds, complete=False)

    def wait_for(self, holder: Holder | None) -> None:
        """Report who compiles the same, and how far that is; its renewals are no news, so that a wait without end
        shows."""
        text = str(holder) if holder is not None else ""
        record = self._store.read() if text and self._store is not None else None
        known = max(self._known, record.graphs if record is not None else 0)
        if text and text != self._holder:
            log.info("the same graphs are being compiled by %s; waiting for them", text)
        if (text, known) != (self._holder, self._known):
            self._holder, self._known, self._time = text, known, datetime.now(UTC)
            self._write()

    def _run(self) -> None:
        while not self._ends.wait(_POLL):
            self.update()

    def _write(self, *, complete: bool = False) -> None:
        if self._handoff is None:
            return
        report = CompileReport(
            part=self.part, done=self.counts.done, known=self._known, compiled=self.counts.compiled,
            since=self._since, time=self._time, complete=complete, holder=self._holder,
        )  # fmt: skip
        step, number = self._start.last_step, self._start.round
        self._handoff.write_progress(Progress(phase=TrainerPhase.LOADING, round=number, step=step, compilation=report))


def _parts(module: TrainingModule) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield what a run does with its model, by name."""
    config, backend = module.config, module.backend
    batch = _batch(config, backend.share, module.vocabulary, backend.device)
    if reference.is_used(config):
        yield "reference", lambda: _reference(module, batch)
        if alignment.reference(config) is alignment.Reference.PRECOMPUTED:
            dtype = accelerators.get(backend.device.type).widest
            shape = batch["input_ids"].shape[:2]
            batch = {**batch, "reference_log_probs": torch.zeros(shape, dtype=dtype, device=backend.device)}
    gradients = Gradients(backend, config.trainer.gradient_clip_val)
    updates = 0

    def step() -> None:
        nonlocal updates
        gradients.compute(batch)
        module.optimizer.step()
        updates += 1
        backend.end_step(updates)

    yield "training step", step
    if config.trainer.limit_val_batches:
        module.model.eval()
        yield "validation", lambda: backend.evaluate(batch)


def _reference(module: TrainingModule, batch: Mapping[str, Tensor]) -> None:
    """Do what `Reference.prepare` does."""
    if alignment.reference(module.config) is not alignment.Reference.PRECOMPUTED:
        module.backend.keep_reference()
        return
    module.model.eval()
    with module.backend.without_adapters():
        module.backend.log_probs(batch)
    module.model.train()


def _batch(config: TrainingConfig, share: Share, vocabulary: int, device: torch.device) -> dict[str, Tensor]:
    """Return a process's part of a global batch in the shape that the run's data has, of random tokens."""
    rows, length = config.data.global_batch_size // share.size, config.model.encoder_seq_length
    has_pairs = alignment.rows_per_sample(alignment.strategy(config)) > 1
    shape = (rows, 2, length) if has_pairs else (rows, length)
    tokens = torch.randint(0, vocabulary, shape, generator=torch.Generator().manual_seed(share.rank))
    batch = {"input_ids": tokens, "labels": tokens.clone()}
    positions, documents = torch.arange(length).expand(shape).clone(), torch.zeros_like(tokens)
    is_isolated, is_records = alignment.isolates_records(config), alignment.reads_records(config)
    has_documents = config.model_source == "megatron" and not is_records and not config.data.data_module
    if is_isolated or (has_documents and config.data.reset_position_ids):
        batch["position_ids"] = positions
    if is_isolated or (has_documents and config.data.reset_attention_mask):
        batch["document_ids"] = documents
    return {name: values.to(device) for name, values in batch.items()}


def _broadcast(value: Any) -> Any:
    """Return rank 0's value on every rank."""
    values = [value]
    dist.broadcast_object_list(values, src=0, group=hosts.group())
    return values[0]
