"""A model's full tensors by Hugging Face's names, loaded one at a time."""

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Final

import torch
from torch import Tensor

Weights = Mapping[str, Callable[[], Tensor]]
"""On the CPU, in the dtype that they are stored in; a call reads the tensor."""

_PROJECTIONS: Final = {"gate_proj": "w1", "up_proj": "w3", "down_proj": "w2"}
"""Of a Mixtral's experts: this trainer stacks them, Hugging Face has a tensor for each."""


def in_dtype(weights: Weights, dtype: torch.dtype | None) -> Weights:
    """Cast, where a dtype is asked for."""
    if dtype is None:
        return weights
    return {name: partial(_cast, load, dtype) for name, load in weights.items()}


def unstacked(native: Weights, experts: int) -> Weights:
    """From this trainer's names to Hugging Face's; all but a Mixtral's are the same."""
    found: dict[str, Callable[[], Tensor]] = {}
    for name, load in native.items():
        layer, is_experts, projection = name.partition(".mlp.experts.")
        if is_experts:
            whole = lru_cache(maxsize=1)(load)
            for i in range(experts):
                theirs = f"{layer}.block_sparse_moe.experts.{i}.{_PROJECTIONS[projection]}.weight"
                found[theirs] = partial(_row, whole, i)
        else:
            found[name.replace(".mlp.gate.", ".block_sparse_moe.gate.")] = load
    return found


def stacked(weights: Weights, names: Mapping[str, torch.Size]) -> Weights:
    """From Hugging Face's names to those of this trainer's model, which `names` has with their shapes."""
    return {name: _of(name, shape, weights) for name, shape in names.items()}


def _of(name: str, shape: torch.Size, weights: Weights) -> Callable[[], Tensor]:
    layer, is_experts, projection = name.partition(".mlp.experts.")
    if not is_experts:
        theirs = name.replace(".mlp.gate.", ".block_sparse_moe.gate.") if name not in weights else name
        return weights[theirs]
    prefix = f"{layer}.block_sparse_moe.experts"
    each = [weights[f"{prefix}.{i}.{_PROJECTIONS[projection]}.weight"] for i in range(shape[0])]
    return lambda: torch.stack([load() for load in each])


def _row(load: Callable[[], Tensor], number: int) -> Tensor:
    return load()[number].clone()


def _cast(load: Callable[[], Tensor], dtype: torch.dtype) -> Tensor:
    return load().to(dtype)
