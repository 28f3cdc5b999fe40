"""LoRA's adapters: the linears that a model has, which of them a target names, and the parameters that are trained.

An adapter of a linear W [out, in] is A [rank, in] and B [out, rank]; a joined target (`qkv_proj`, `gate_up_proj`) has
one A for its parts and a B for each. Of a column-parallel linear A is whole and B split by rows (whole, where processes
share key/value heads), of a row-parallel one A is split by columns and B whole. An embedding [V, H] has A [rank, V] and
B [H, rank], both whole.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

from neuron_api.config import PeftConfig

from .architecture import Architecture
from .parameters import padded_vocabulary
from .sharding import Sharding

_IN_LAYER: Final = re.compile(r"(?:(?:model\.)?layers\.)?(\d{1,9})\.(.+)")
"""A target that names one layer: `model.layers.3.self_attn.q_proj`, `3.self_attn.q_proj`."""
EMBEDDING: Final = "model.embed_tokens"
HEAD: Final = "lm_head"
JOINED: Final[Mapping[str, tuple[str, ...]]] = {
    "self_attn.qkv_proj": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "mlp.gate_up_proj": ("mlp.gate_proj", "mlp.up_proj"),
}
"""Targets that stand for several linears of a layer, with one A."""


@dataclass(frozen=True, slots=True)
class Linear:
    """Sizes of a linear or an embedding of the whole model."""

    inputs: int
    outputs: int
    is_row: bool = False
    """Its inputs are split over TP, else its outputs."""
    has_bias: bool = False
    copies: int = 1
    """Of each output feature over TP: key/value heads."""


@dataclass(frozen=True, slots=True)
class Target:
    """What an entry of `target_modules` names."""

    path: str
    """Module below a layer (`self_attn.q_proj`, or joined), `model.embed_tokens` or `lm_head`."""
    layer: int | None = None
    """The only layer; None: every layer that has it."""


@dataclass(frozen=True, slots=True)
class Trained:
    """Elements that are trained with LoRA."""

    adapters: int = 0
    biases: int = 0

    @property
    def total(self) -> int:
        """Return the sum."""
        return self.adapters + self.biases


def linears(model: Architecture, kv_copies: int = 1) -> dict[str, Linear]:
    """Return the linears of a layer by their path below it, and embedding and head; a stack of experts has none."""
    hidden, bias = model.hidden, model.has_bias
    result = {
        "self_attn.q_proj": Linear(hidden, model.query_width, has_bias=bias),
        "self_attn.k_proj": Linear(hidden, model.kv_width, has_bias=bias, copies=kv_copies),
        "self_attn.v_proj": Linear(hidden, model.kv_width, has_bias=bias, copies=kv_copies),
        "self_attn.o_proj": Linear(model.query_width, hidden, is_row=True, has_bias=bias),
    }
    if _has_dense_layers(model):
        bias = model.has_mlp_bias
        if model.is_gated:
            result["mlp.gate_proj"] = Linear(hidden, model.ffn, has_bias=bias)
        result["mlp.up_proj"] = Linear(hidden, model.ffn, has_bias=bias)
        result["mlp.down_proj"] = Linear(model.ffn, hidden, is_row=True, has_bias=bias)
    vocabulary = model.vocabulary or 0
    return {**result, EMBEDDING: Linear(vocabulary, hidden, is_row=True), HEAD: Linear(hidden, vocabulary)}


def targets(model: Architecture) -> tuple[str, ...]:
    """Return the names that `target_modules` can have for this model, by the end of their paths."""
    return tuple(path.rpartition(".")[2] for path in _paths(model))


def find(model: Architecture, name: str) -> Target | None:
    """Return what an entry of `target_modules` names; None if no module's name ends with it."""
    paths = _paths(model)
    if (match := _IN_LAYER.fullmatch(name)) is None:
        path = next((path for path in paths if f".{path}".endswith(f".{name}")), None)
        return Target(path) if path else None
    layer, path = int(match[1]), match[2]
    is_there = path in paths and path not in (EMBEDDING, HEAD) and layer < model.layers
    return Target(path, layer) if is_there and (_is_dense(model, layer) or not path.startswith("mlp.")) else None


def names_layer(name: str) -> bool:
    """Return whether an entry of `target_modules` is of one layer alone."""
    return _IN_LAYER.fullmatch(name) is not None


def parts(target: Target) -> tuple[str, ...]:
    """Return the paths of the linears that a target gives an adapter."""
    return JOINED.get(target.path, (target.path,))


def trained(
    model: Architecture, peft: PeftConfig, split: Sharding, layers: Sequence[range], *, is_first: bool, is_last: bool
) -> Trained:
    """Return what a process trains that has these layers; with embedding if `is_first` and head if `is_last`."""
    chosen = list(dict.fromkeys(target for name in peft.target_modules if (target := find(model, name)) is not None))
    adapters = sum(
        _count(model, target, layers, is_first=is_first, is_last=is_last)
        * _adapter(model, target, peft.lora_rank, split)
        for target in chosen
    )
    norms = 2 * sum(map(len, layers)) + is_last
    biases = _biases(model, peft, split, layers, chosen)
    if peft.lora_bias == "all" and model.has_norm_bias:
        biases += norms * model.hidden
    return Trained(adapters, biases)


def whole(model: Architecture, peft: PeftConfig) -> Trained:
    """Return what is trained of the whole model."""
    return trained(model, peft, Sharding(), [range(model.layers)], is_first=True, is_last=True)


def _paths(model: Architecture) -> list[str]:
    """Return the paths that a target can end with, those of joined targets first."""
    names = linears(model)
    return [*(path for path, parts in JOINED.items() if all(part in names for part in parts)), *names]


def _has_dense_layers(model: Architecture) -> bool:
    return model.experts is None or model.experts.layers_with_experts(model.layers) < model.layers


def _is_dense(model: Architecture, layer: int) -> bool:
    experts = model.experts
    return experts is None or experts.layers_with_experts(layer + 1) == experts.layers_with_experts(layer)


def _dense(model: Architecture, layers: range) -> int:
    if model.experts is None:
        return len(layers)
    with_experts = model.experts.layers_with_experts
    return len(layers) - with_experts(layers.stop) + with_experts(layers.start)


def _count(model: Architecture, target: Target, layers: Sequence[range], *, is_first: bool, is_last: bool) -> int:
    """Return how many modules of these layers a target names."""
    if target.path in (EMBEDDING, HEAD):
        return int(is_first if target.path == EMBEDDING else is_last)
    if target.layer is not None:
        return int(any(target.layer in span for span in layers))
    return _with(model, target.path, layers)


def _with(model: Architecture, path: str, layers: Sequence[range]) -> int:
    """Return how many of these layers have a module."""
    return sum(_dense(model, span) if path.startswith("mlp.") else len(span) for span in layers)


def _adapter(model: Architecture, target: Target, rank: int, split: Sharding) -> int:
    """Return the elements of one adapter on one process."""
    names = linears(model, split.kv_copies)
    members = [names[path] for path in parts(target)]
    first, tensor = members[0], split.tensor
    if target.path == EMBEDDING:
        return rank * (padded_vocabulary(model, tensor) + first.outputs)
    if target.path == HEAD:
        return rank * (first.inputs + padded_vocabulary(model, tensor) // tensor)
    if first.is_row:
        return rank * (ceil(first.inputs / tensor) + first.outputs)
    return rank * (first.inputs + sum(_own_outputs(linear, tensor) for linear in members))


def _own_outputs(linear: Linear, tensor: int) -> int:
    return linear.outputs if linear.copies > 1 else ceil(linear.outputs / tensor)


def _biases(
    model: Architecture, peft: PeftConfig, split: Sharding, layers: Sequence[range], chosen: Sequence[Target]
) -> int:
    """Return the biases of linears that are trained on one process: of wrapped ones, or of all."""
    names = linears(model, split.kv_copies)
    if peft.lora_bias == "none":
        return 0
    if peft.lora_bias == "all":
        return sum(
            _bias(linear, split) * _with(model, path, layers) for path, linear in names.items() if linear.has_bias
        )
    wrapped = _wrapped(model, chosen, layers)
    return sum(_bias(names[path], split) * count for path, count in wrapped if names[path].has_bias)


def _wrapped(model: Architecture, chosen: Sequence[Target], layers: Sequence[range]) -> Iterator[tuple[str, int]]:
    """Yield the path of each linear of a layer that has an adapter, and of how many layers."""
    for target in chosen:
        if target.path not in (EMBEDDING, HEAD):
            count = _count(model, target, layers, is_first=False, is_last=False)
            yield from ((path, count) for path in parts(target))


def _bias(linear: Linear, split: Sharding) -> int:
    return linear.outputs if linear.is_row else ceil(linear.outputs * linear.copies / split.tensor)
