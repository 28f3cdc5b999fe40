"""A model's full tensors by Hugging Face's names, loaded one at a time."""

from collections.abc import Callable, Mapping
from functools import lru_cache, partial

import torch
from torch import Tensor

from neuron_trainer.errors import CheckpointError
from neuron_trainer.models.spec import HFTensor

Weights = Mapping[str, Callable[[], Tensor]]
"""On the CPU, in the dtype that they are stored in; a call reads the tensor."""


def in_dtype(weights: Weights, dtype: torch.dtype | None) -> Weights:
    """Cast, where a dtype is asked for."""
    if dtype is None:
        return weights
    return {name: partial(_cast, load, dtype) for name, load in weights.items()}


def unstacked(native: Weights, names: Mapping[str, HFTensor]) -> Weights:
    """Return weights under Hugging Face's names in place of this trainer's; `names`: of the model's parameters."""
    tensors: dict[str, Callable[[], Tensor]] = {}
    for name, load in native.items():
        theirs = names[name]
        if theirs.is_stack:
            whole = lru_cache(maxsize=1)(load)
            tensors |= {their: partial(_row, whole, number) for number, their in enumerate(theirs.names)}
        else:
            tensors[theirs.names[0]] = load
    return tensors


def stacked(weights: Weights, names: Mapping[str, HFTensor]) -> Weights:
    """Return weights of Hugging Face's names under those of this trainer's model."""
    return {name: _loader(theirs, weights) for name, theirs in names.items()}


def _loader(theirs: HFTensor, weights: Weights) -> Callable[[], Tensor]:
    if absent := [name for name in theirs.names if name not in weights]:
        raise CheckpointError(f"the source has no {absent[0]}")
    each = [weights[name] for name in theirs.names]
    return (lambda: torch.stack([load() for load in each])) if theirs.is_stack else each[0]


def _row(load: Callable[[], Tensor], number: int) -> Tensor:
    return load()[number].clone()


def _cast(load: Callable[[], Tensor], dtype: torch.dtype) -> Tensor:
    return load().to(dtype)
