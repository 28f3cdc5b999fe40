"""The reference of DPO: the model that the run began with, whatever a restart takes up (docs/design/020-alignment.md).

Start weights are the initial ones, or those of `resume_from_checkpoint`. Before step 1 either the log-probabilities of
all samples are computed with them, once for all starts of the run, or the backend keeps a frozen copy of them.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from neuron_api.config import TrainingConfig
from neuron_api.findings.finding import error
from neuron_trainer import objectives
from neuron_trainer.checkpoint import fingerprint as weights
from neuron_trainer.checkpoint.lora.base import adapters_in
from neuron_trainer.checkpoint.lora.entry import AdapterEntry
from neuron_trainer.checkpoint.manifest import read as read_manifest
from neuron_trainer.data.loader import to_device
from neuron_trainer.data.reference import fingerprint
from neuron_trainer.data.samples import Part, Samples
from neuron_trainer.errors import CheckpointError, DivergenceError, InputError
from neuron_trainer.ipc.worker_channel import Start
from neuron_trainer.parallel import hosts
from neuron_trainer.run_directory.reference_table import ReferenceTable, TableOrigin
from neuron_trainer.storage import places

from .adapters import RunAdapters
from .module import TrainingModule
from .state import RunState

log = logging.getLogger(__name__)

_KEY = "exp_manager.resume_from_checkpoint"


class PassObserver(Protocol):
    """Receives the progress of a pass."""

    def reference_progress(self, part: str, done: int, total: int) -> None:
        """So many samples of a part of the data are computed."""


def is_used(config: TrainingConfig) -> bool:
    """Return whether a run has a reference."""
    objective = objectives.for_run(config)
    return objective is not None and objective.has_reference


def needs_initial_weights(config: TrainingConfig) -> bool:
    """Return whether initial weights are needed also where a checkpoint will replace them."""
    return is_used(config) and not config.exp_manager.resume_from_checkpoint


@dataclass(frozen=True, slots=True)
class Reference:
    """Prepares the reference of one start; all ranks call it together."""

    state: RunState
    start: Start
    log_dir: Path
    observer: PassObserver
    rank: int

    @property
    def module(self) -> TrainingModule:
        """The run's."""
        return self.state.module

    def prepare(self, parts: tuple[Part, ...]) -> None:
        """Make the reference of these parts of the data; the weights of a checkpoint are loaded after it."""
        sections = self.module.config.model_alignment_strategy
        assert sections is not None and sections.dpo is not None
        if not sections.dpo.precompute_ref_log_probs:
            with self._start_weights():
                self.module.backend.keep_reference()
            return
        tables = {part: self._table(part) for part in parts}
        stored = {
            part: self._share(table.read(resumes=self._resumes) if table else None) for part, table in tables.items()
        }
        missing = [part for part, values in stored.items() if values is None]
        with self._start_weights() if missing else nullcontext():
            computed = {part: self._compute(part, tables[part]) for part in missing}
        for part, values in stored.items():
            self.module.add_reference(part, computed[part] if values is None else values)

    @property
    def _resumes(self) -> bool:
        return self.start.resumes

    def _table(self, part: Part) -> ReferenceTable | None:
        """Return the table on rank 0, where the directory is."""
        samples = self.module.samples(part)
        if self.rank != 0:
            return None
        origin = TableOrigin(fingerprint(samples), self._count(part, samples), self._weights(), self.start.run_id)
        return ReferenceTable(self.log_dir, part, origin, self.state.guard)

    def _count(self, part: Part, samples: Samples) -> int:
        """Return how many samples are ever read: a validation may be limited."""
        config = self.module.config
        limit = config.trainer.limit_val_batches if part == "validation" else None
        if not isinstance(limit, int):
            return len(samples)
        return min(len(samples), limit * config.data.global_batch_size)

    def _weights(self) -> str | None:
        """Return the fingerprint of the start weights; of adapters that of their base, which the reference is."""
        config, family = self.module.config, self.state.family
        if self.state.adapters is not None:
            return self._base(self.state.adapters)
        explicit = config.exp_manager.resume_from_checkpoint
        if not explicit:
            return weights.drawn(family.kind, asdict(family.config), config.seed)
        try:
            return weights.weights(places.place(explicit))
        except (CheckpointError, OSError):
            return None

    def _base(self, adapters: RunAdapters) -> str:
        entry = self._adapter_entry()
        return adapters.base.fingerprint if entry is None else entry.base.fingerprint

    def _adapter_entry(self) -> AdapterEntry | None:
        """Return what the checkpoint of this start says of its adapters; None where it has none."""
        if self.start.checkpoint is None:
            return None
        folder = places.place(self.start.checkpoint)
        return read_manifest(folder).adapters if self._resumes else adapters_in(folder)

    @contextmanager
    def _start_weights(self) -> Iterator[None]:
        """Compute with the model that the run began with, without what its adapters have changed of it.

        At step 0 it is there already, unless adapters have come with biases of their own, which are put back. When a
        run resumes, the weights of its checkpoint are loaded later.
        """
        entry, adapters = self._adapter_entry(), self.state.adapters
        has_biases = adapters is not None and entry is not None and adapters.has_trained_biases
        if self._resumes or has_biases:
            self._load_start_weights(entry)
        yield
        if has_biases and not self._resumes:
            self.state.load_weights(places.place(str(self.start.checkpoint)))

    def _load_start_weights(self, entry: AdapterEntry | None) -> None:
        explicit = self.module.config.exp_manager.resume_from_checkpoint
        try:
            if self.state.adapters is not None and entry is not None:
                self.state.adapters.load_start(places.place(str(self.start.checkpoint)), entry)
                self.module.backend.weights_loaded(0)
            elif explicit:
                self.state.load_weights(places.place(explicit))
        except (CheckpointError, OSError) as problem:
            message = f"the reference of DPO is computed with these weights, and they cannot be read: {problem}."
            remedy = "Restore them, or reference_log_probs of the log directory."
            raise InputError([error(_KEY, message, remedy)]) from None

    def _compute(self, part: Part, table: ReferenceTable | None) -> Tensor:
        """Return the log-probabilities of all samples of a part, fp64 [n, 2], on the host of every process."""
        samples, size = self.module.samples(part), self.module.config.data.global_batch_size
        count = self._count(part, samples)
        steps = self.module.pass_in_order(part)
        first = _broadcast(table.begin(resumes=self._resumes) if table else 0) // size
        if self.rank == 0:
            log.info("reference log-probabilities of %d samples (%s), from sample %d on", count, part, first * size)
        self.module.model.eval()
        for number in range(first, -(-count // size)):
            rows = self._rows(steps[number])[: count - number * size]
            if not np.isfinite(rows).all():
                raise DivergenceError(_sentence(part, number * size + int(np.argwhere(~np.isfinite(rows))[0, 0])))
            if table is not None:
                table.write(number * size, rows)
            self.observer.reference_progress(part, min(count, (number + 1) * size), count)
        self.module.model.train()
        values = self._share(table.finish() if table else None)
        assert values is not None
        return values

    def _rows(self, batch: Mapping[str, Tensor]) -> Any:
        """Return the log-probabilities of a global batch, float64 [GBS, 2], in sample order; a collective."""
        backend, world = self.module.backend, dist.get_world_size()
        with backend.without_adapters():
            own = backend.log_probs(to_device(batch, backend.device)).cpu()
        whole = torch.zeros(len(own) * backend.share.size, 2, dtype=torch.float64)
        whole[backend.share.rank :: backend.share.size] = own.double()
        copies = world // backend.share.size
        return (backend.sum_over_processes(whole) / copies).numpy()

    def _share(self, values: Any) -> Tensor | None:
        """Return rank 0's table on every rank; None where it has none."""
        content = _broadcast(None if values is None else values.tobytes())
        return None if content is None else torch.frombuffer(bytearray(content), dtype=torch.float64).view(-1, 2)


def _broadcast(value: Any) -> Any:
    """Return rank 0's value on every rank."""
    values = [value]
    dist.broadcast_object_list(values, src=0, group=hosts.group())
    return values[0]


def _sentence(part: Part, sample: int) -> str:
    return (
        f"the start weights give sample {sample} of the {part} data a log-probability that is not finite. Look at the "
        "sample, or at the weights of exp_manager.resume_from_checkpoint."
    )
