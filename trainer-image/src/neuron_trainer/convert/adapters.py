"""Adapters (LoRA) of a checkpoint of ours or of PEFT: read, merged with their base, and written for PEFT."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from neuron_trainer.checkpoint import hf_checkpoint
from neuron_trainer.checkpoint.lora import peft_directory
from neuron_trainer.checkpoint.lora.base import Pair, adapters_in, pairs
from neuron_trainer.checkpoint.lora.entry import AdapterEntry
from neuron_trainer.errors import CheckpointError
from neuron_trainer.models import lora
from neuron_trainer.storage import places

from . import native
from .weights import Weights


@dataclass(frozen=True, slots=True)
class AdapterSource:
    """Whole adapters and trained biases."""

    folder: Path
    entry: AdapterEntry
    weights: Weights
    """By our names, which are those of `transformers` where it has the model."""

    @property
    def scale(self) -> float:
        """Return alpha / r."""
        return self.entry.alpha / self.entry.rank


def read(folder: Path) -> AdapterSource | None:
    """Return what a directory has of adapters; None: it is a whole model. Raises `CheckpointError`."""
    entry = adapters_in(folder)
    if entry is None:
        return None
    if peft_directory.is_peft(folder):
        stored = peft_directory.tensors(folder)
        return AdapterSource(
            folder, entry, {name: partial(hf_checkpoint.load, location) for name, location in stored.items()}
        )
    every = native.read(folder, masters=True)
    adapted = frozenset(pair.weight.removesuffix(".weight") for pair in pairs(list(every)))
    own = {name: load for name, load in every.items() if lora.names.is_trained(name, entry.bias, adapted)}
    return AdapterSource(folder, entry, own)


def merged(source: AdapterSource, base: Weights, dtype: torch.dtype | None) -> Weights:
    """Return the base's tensors with the adapters added and the trained biases in their places.

    `base` by the names of `transformers`; `dtype`: of what is added up, by default the base's. Raises `CheckpointError`
    for an adapter that the base has no weight for.
    """
    result = dict(base)
    for pair in pairs(list(source.weights)):
        load = base.get(pair.weight) or _tied(base, pair.weight)
        if load is None:
            raise CheckpointError(f"{source.folder} has an adapter of {pair.weight}, which its base has not")
        result[pair.weight] = partial(_sum, load, source, pair, dtype)
    biases = {name: load for name, load in source.weights.items() if not lora.names.is_adapter(name)}
    if absent := [name for name in biases if name not in base]:
        raise CheckpointError(f"{source.folder} has {absent[0]}, which its base has not")
    return {**result, **biases}


def unties(source: AdapterSource) -> bool:
    """Return whether a weight that embedding and head share is two weights after the merge."""
    ends = {pair.weight.rpartition(".")[0].rpartition(".")[2] for pair in pairs(list(source.weights))}
    return bool(ends & {"embed_tokens", "lm_head"})


def write(folder: Path, source: AdapterSource, base: str | None, tell: Callable[[str], None]) -> None:
    """Write a directory that `PeftModel.from_pretrained` reads; `base`: what adapter_config.json names."""
    folder.mkdir(parents=True, exist_ok=True)
    places.write(folder / peft_directory.CONFIG, peft_directory.config(source.entry, base))
    places.write(folder / peft_directory.WEIGHTS, peft_directory.weights(source.weights))
    for name in source.weights:
        tell(name)


def folded(source: AdapterSource) -> AdapterSource:
    """Return the same with one A where the parts of a fused target have equal ones, as PEFT's files have them."""
    targets, weights = list(source.entry.targets), dict(source.weights)
    for fused, parts in lora.FUSED.items():
        if not set(parts) <= set(targets):
            continue
        own = [name.removesuffix(f"{parts[0]}.{lora.names.A}.weight") for name in weights if _is_a(name, parts[0])]
        if own and all(_share(weights, parent, parts) for parent in own):
            targets = [fused, *(target for target in targets if target not in parts)]
            for parent in own:
                for part in parts[1:]:
                    del weights[f"{parent}{part}.{lora.names.A}.weight"]
    entry = source.entry.model_copy(update={"targets": tuple(targets)})
    return AdapterSource(source.folder, entry, weights)


def _is_a(name: str, part: str) -> bool:
    return name.endswith(f".{part}.{lora.names.A}.weight")


def _share(weights: Weights, parent: str, parts: Sequence[str]) -> bool:
    every = [weights.get(f"{parent}{part}.{lora.names.A}.weight") for part in parts]
    first, *others = [load() for load in every if load is not None]
    return len(others) == len(parts) - 1 and all(torch.equal(first, other) for other in others)


def _tied(base: Weights, weight: str) -> Callable[[], Tensor] | None:
    """A head that shares the embedding's weight has no tensor of its own."""
    return base.get("model.embed_tokens.weight") if weight == "lm_head.weight" else None


def _sum(load: Callable[[], Tensor], source: AdapterSource, pair: Pair, dtype: torch.dtype | None) -> Tensor:
    a, b = source.weights[pair.a](), source.weights[pair.b]()
    weight = load()
    delta = pair.delta(a, b, slice(None), slice(None))
    return (weight.float() + source.scale * delta).to(dtype or weight.dtype)
