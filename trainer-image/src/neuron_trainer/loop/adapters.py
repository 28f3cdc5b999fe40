"""What LoRA changes about a run's checkpoints: which base, what is stored, and what is loaded from where."""

from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from neuron_api.config import PeftConfig, TrainingConfig
from neuron_trainer.checkpoint import fingerprint, hf_checkpoint, reader, tensors
from neuron_trainer.checkpoint.lora import base, peft_directory
from neuron_trainer.checkpoint.lora.base import adapters_in, check_drawn, drawn, locate
from neuron_trainer.checkpoint.lora.entry import AdapterEntry, BaseEntry
from neuron_trainer.checkpoint.manifest import Manifest
from neuron_trainer.checkpoint.reader import HFReader
from neuron_trainer.checkpoint.staging import CheckpointTensor
from neuron_trainer.models import lora
from neuron_trainer.models.family import Family
from neuron_trainer.models.spec import HFTensor
from neuron_trainer.parallel import LocalParameter, ParallelBackend, hosts

T = TypeVar("T")


class RunAdapters:
    """The adapters of a run, beside its backend; needs all ranks."""

    def __init__(self, config: TrainingConfig, peft: PeftConfig, backend: ParallelBackend, family: Family) -> None:
        self._config, self._peft, self._backend, self._family = config, peft, backend, family
        self.base = drawn(family)

    @classmethod
    def for_run(cls, config: TrainingConfig, backend: ParallelBackend, family: Family) -> "RunAdapters | None":
        """Return those of a run; None where all weights are trained."""
        strategy = config.model_alignment_strategy
        peft = strategy.peft if strategy is not None else None
        return cls(config, peft, backend, family) if peft is not None else None

    def sentences(self) -> list[str]:
        """Return what is trained, in a line; with `lora_verbose` each adapted module, and each trained parameter."""
        summary = lora.summary(self._family.on_meta(), self._peft)
        lines = [summary.sentence]
        if self._peft.lora_verbose:
            lines += [f"adapted: {name}" for name in summary.modules]
            lines += [f"trained: {name} {list(shape)}" for name, shape in summary.shapes.items()]
        return lines

    @property
    def has_trained_biases(self) -> bool:
        """Return whether biases of the base are trained."""
        return self._peft.lora_bias != "none"

    @property
    def entry(self) -> AdapterEntry:
        """Return what the manifest of a checkpoint says."""
        return AdapterEntry.from_config(self._peft, self.base)

    # ---- loading -----------------------------------------------------------------------------------------------------

    def begin(self, folder: Path) -> None:
        """Load the weights of a start at step 0: a base, or adapters and the base that they belong to."""
        if (entry := adapters_in(folder)) is None:
            self._load_base(folder, self._untouched())
            return
        self._load_base_of(entry, folder, self._untouched())
        if peft_directory.is_peft(folder):
            self._load_peft(folder)
        else:
            reader.load_tensors(folder, self._adapters_in)

    def resume(self, folder: Path, manifest: Manifest) -> None:
        """Load the base of a checkpoint whose adapters are loaded."""
        assert manifest.adapters is not None
        self._load_base_of(manifest.adapters, folder, self._backend.frozen_parameters())

    def load_start(self, folder: Path, entry: AdapterEntry) -> None:
        """Load the base of a checkpoint's adapters as it was before a step, with the biases that are trained since; a
        base that was drawn is there already. The configuration may name other start weights by now."""
        if entry.base.is_drawn:
            return
        if self.has_trained_biases:  # the checkpoint has these alone
            self._load_base(locate(entry.base, self._config, folder), self._untouched())
        else:
            self._load_base_of(entry, folder, self._untouched())

    def _load_base_of(self, entry: AdapterEntry, folder: Path, parameters: Collection[LocalParameter]) -> None:
        if entry.holds_base and not entry.is_merged:
            self._load(folder, parameters)
            self.base = entry.base
        elif entry.base.is_drawn:
            check_drawn(entry.base, self.base, folder)
        else:
            self._load_base(locate(entry.base, self._config, folder), parameters)

    def _load_base(self, folder: Path, parameters: Collection[LocalParameter]) -> None:
        self._load(folder, parameters)
        self.base = BaseEntry(source=str(folder), fingerprint=fingerprint.weights(folder))

    def _load(self, folder: Path, parameters: Collection[LocalParameter]) -> None:
        files = HFReader(folder, self._family.hf_tensors) if hf_checkpoint.is_hf_checkpoint(folder) else None
        reader.load_tensors(folder, lambda names: tensors.weights(list(parameters), names), files)

    def _load_peft(self, folder: Path) -> None:
        names = _of_all_stages({parameter.name: None for parameter in self._backend.parameters()})
        stored = peft_directory.selected(folder, list(names))
        files = HFReader(folder, {name: HFTensor((name,)) for name in stored}, stored)
        reader.load_tensors(folder, self._adapters_in, files)

    def _adapters_in(self, names: Collection[str]) -> dict[str, CheckpointTensor]:
        """Adapters that are not there keep their initial values (B-13); trained biases must be."""
        weights = tensors.weights(self._backend.parameters(), names)
        return {name: tensor for name, tensor in weights.items() if name in names or not lora.names.is_adapter(name)}

    def _untouched(self) -> list[LocalParameter]:
        """Return what the base has, biases that are trained included."""
        every = [*self._backend.parameters(), *self._backend.frozen_parameters()]
        return [parameter for parameter in every if not lora.names.is_adapter(parameter.name)]

    # ---- saving ------------------------------------------------------------------------------------------------------

    def stored_base(self, dtype: torch.dtype | None) -> dict[str, CheckpointTensor]:
        """Return what `save_lora_base` adds; merged in `dtype`, by default the one that is computed with."""
        if not self._peft.save_lora_base:
            return {}
        frozen, sums = self._backend.frozen_parameters(), {}
        if self._peft.merge_lora:
            trained = {parameter.name: parameter for parameter in self._backend.parameters()}
            sums = base.merged(frozen, trained, self._peft.lora_alpha / self._peft.lora_rank)
        return {
            f"model.{parameter.name}": CheckpointTensor(
                local := sums.get(parameter.name, parameter.leaf.detach()),
                dtype if dtype is not None and self._peft.merge_lora else local.dtype,
                parameter.for_checkpoint,
            )
            for parameter in frozen
        }

    def files(self) -> dict[str, bytes]:
        """Return the files beside the tensors, on rank 0; a collective."""
        files = {}
        if self._peft.save_lora_config_adapter:
            files[peft_directory.CONFIG] = peft_directory.config(self.entry, self.base.source or None)
        if self._peft.merge_sharded_lora:
            own = {parameter.name: parameter.gathered().cpu() for parameter in self._backend.parameters()}
            every = {name: partial(Tensor.detach, tensor) for name, tensor in _of_all_stages(own).items()}
            files[peft_directory.WEIGHTS] = peft_directory.weights(every)
        return files


def _of_all_stages(own: dict[str, T]) -> dict[str, T]:
    """Return what the processes have by name, those of other pipeline stages included; a collective."""
    every: list[dict[str, T]] = [{}] * dist.get_world_size()
    dist.all_gather_object(every, own, hosts.group())
    return {name: value for names in every for name, value in names.items()}
