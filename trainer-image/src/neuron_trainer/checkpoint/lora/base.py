"""The base of an adapter: where it is, whether it is the one, and the weights with what is added to them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from neuron_api.config import TrainingConfig
from neuron_trainer.checkpoint import fingerprint, hf_checkpoint, layout
from neuron_trainer.checkpoint.manifest import read
from neuron_trainer.errors import CheckpointError
from neuron_trainer.models.family import Family
from neuron_trainer.models.lora import names
from neuron_trainer.parallel import LocalParameter
from neuron_trainer.storage import places

from . import peft_directory
from .entry import AdapterEntry, BaseEntry


class Pair:
    """The weights of one adapter, and which weight of the base they are added to."""

    def __init__(self, weight: str, a: str, b: str) -> None:
        self.weight, self.a, self.b = weight, a, b

    @property
    def is_embedding(self) -> bool:
        """Return whether the rows of the weight are tokens."""
        return self.b.endswith(names.EMBEDDING_B)

    def delta(self, a: Tensor, b: Tensor, rows: slice, columns: slice) -> Tensor:
        """Return a part of B A as the weight has it, fp32; `a` and `b` whole."""
        first, second = (a.T, b.T) if self.is_embedding else (b, a)
        return first.float()[rows] @ second.float()[:, columns]


def pairs(parameters: Sequence[str]) -> Iterator[Pair]:
    """Yield the adapters among the parameters of a model."""
    every = set(parameters)
    for name in parameters:
        if name.endswith(f".{names.B}.weight"):
            module = name.removesuffix(f".{names.B}.weight")
            yield Pair(f"{module}.weight", names.shared_a(module, every), name)
        elif name.endswith(f".{names.EMBEDDING_B}"):
            module = name.removesuffix(f".{names.EMBEDDING_B}")
            yield Pair(f"{module}.weight", f"{module}.{names.EMBEDDING_A}", name)


@torch.no_grad()
def merged(frozen: Sequence[LocalParameter], trained: Mapping[str, LocalParameter], scale: float) -> dict[str, Tensor]:
    """Return W + (alpha / r) B A of the adapted weights by name, this process's part, in the weight's dtype.

    A collective: A and B are gathered, one pair after the other.
    """
    of_weight = {pair.weight: pair for pair in pairs(list(trained))}
    result = {}
    for parameter in frozen:
        if (pair := of_weight.get(parameter.name)) is not None:
            local, (row, column) = parameter.leaf.detach(), parameter.offset
            rows, columns = slice(row, row + local.shape[0]), slice(column, column + local.shape[1])
            delta = pair.delta(trained[pair.a].gathered(), trained[pair.b].gathered(), rows, columns)
            result[parameter.name] = (local.float() + scale * delta).to(local.dtype)
    return result


def adapters_in(folder: Path) -> AdapterEntry | None:
    """Return what a directory has of adapters; None: it is a whole model. Raises `CheckpointError`."""
    if hf_checkpoint.is_hf_checkpoint(folder):
        return None
    if _is_native(folder):
        entry = read(folder).adapters
        return None if entry is not None and entry.is_merged else entry
    return peft_directory.read(folder) if peft_directory.is_peft(folder) else None


def is_drawn(folder: Path) -> bool:
    """Return whether a checkpoint has adapters without their base, which was drawn from the seed."""
    entry = read(folder).adapters if _is_native(folder) else None
    return entry is not None and entry.base.is_drawn and (entry.is_merged or not entry.holds_base)


def locate(base: BaseEntry, config: TrainingConfig, adapter: Path) -> Path:
    """Return the directory with the base of an adapter: the one that it names, else what the configuration names.

    Raises `CheckpointError` where none of them is the base.
    """
    others = []
    for place in dict.fromkeys(_places(base, config)):
        if place == adapter or not _is_model(place):
            continue
        if base.fingerprint in ("", fingerprint.weights(place)):
            return place
        others.append(place)
    wrong = "".join(f"; {place} holds other weights" for place in others)
    raise CheckpointError(
        f"{adapter} has adapters of {base.name}, which is not there{wrong}. Put the base back, or give its new place "
        "as model.model_config, a directory with config.json and *.safetensors"
    )


def drawn(model: Family) -> BaseEntry:
    """Return the entry of the initial weights of a run."""
    return BaseEntry(fingerprint=fingerprint.drawn(model.kind, asdict(model.config), model.seed))


def check_drawn(stored: BaseEntry, own: BaseEntry, adapter: Path) -> None:
    """Raise `CheckpointError` where the base was drawn from another seed."""
    if stored.fingerprint != own.fingerprint:
        raise CheckpointError(
            f"{adapter} has adapters of a base that was drawn from another seed than this run's: set seed as it was"
        )


def _places(base: BaseEntry, config: TrainingConfig) -> Iterator[Path]:
    if base.source:
        yield places.place(base.source)
    if config.exp_manager.resume_from_checkpoint:
        yield places.place(config.exp_manager.resume_from_checkpoint)
    if config.model_source == "hf" and config.model.model_config_path:
        named = places.place(config.model.model_config_path)
        yield named if named.is_dir() else named.parent


def _is_model(folder: Path) -> bool:
    if hf_checkpoint.is_hf_checkpoint(folder):
        return True
    return _is_native(folder) and adapters_in(folder) is None


def _is_native(folder: Path) -> bool:
    """Upstream's checkpoints have the same marker."""
    return layout.is_complete(folder) and (folder / layout.TENSOR_INDEX).is_file()
