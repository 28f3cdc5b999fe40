"""Stochastic rounding of fp32 to bf16: up or down at random, in proportion, so that the mean is the value (B-3).

The random bits of an element follow from (seed, step, tensor) and the element's place in the whole tensor (B-19), and
from nothing else: every process that holds the element rounds it alike, whatever the split, and a resumed run rounds as
the unbroken one would have. The state of this generator is therefore the number of the step, which a checkpoint has.

Bits are a hash (`models.blocks.seeds`) of the element's row and column, so that any part can be computed alone; in
int32, since devices compute int64 in 32 bits. torch's generator on the CPU, a Mersenne twister, would have to draw the
whole tensor on each process.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import torch
from torch import Tensor

from neuron_trainer.models.blocks.seeds import hashed, shifted

_EACH: Final = 2
"""Elements that take 16 bits of one output."""
_BITS: Final = 16
_LOW: Final = 2**_BITS - 1


@dataclass(frozen=True, slots=True)
class Place:
    """Where a shard is in a whole tensor; contiguous along each dimension."""

    shape: tuple[int, ...]
    """Of the whole."""
    offset: tuple[int, ...]
    """Of the shard's first element."""


def key(seed: int, step: int, name: str) -> int:
    """64 bits, signed, for one tensor in one step."""
    digest = hashlib.blake2b(f"{seed}/{step}/{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def stochastic(values: Tensor, place: Place, key: int) -> Tensor:
    """fp32 shard of any shape to bf16 of the same; infinities and NaN as they are.

    A value between two neighbours in bf16 becomes the upper with probability (value - lower) / (upper - lower).
    """
    bits = _reinterpreted(values.contiguous(), torch.int32) + noise(tuple(values.shape), place, key, values.device)
    rounded = _reinterpreted(bits & -0x10000, torch.float32)
    return torch.where(values.isfinite(), rounded, values).to(torch.bfloat16)


def noise(shape: tuple[int, ...], place: Place, key: int, device: torch.device) -> Tensor:
    """Uniform integers 0..65535, int32, for the shard of `shape` at `place`.

    A row's seed is its hash, with the row itself: where hashes are near to each other, sequences are not.
    """
    *leading, _ = place.shape or (1,)
    *first, column = place.offset or (0,)
    *lengths, columns = shape or (1,)
    row = torch.zeros((), dtype=torch.int32, device=device)
    for size, begin, length in zip(leading, first, lengths, strict=True):
        row = row[..., None] * size + _numbers(begin, begin + length, device)
    words = torch.stack([hashed(row, key), row])[..., None]
    from_word, to_word = column // _EACH, -(-(column + columns) // _EACH)
    bits = hashed(_numbers(from_word, to_word, device), words)
    drawn = torch.stack([bits & _LOW, shifted(bits, _BITS)], dim=-1).flatten(-2)
    skipped = column - from_word * _EACH
    return drawn[..., skipped : skipped + columns].reshape(shape)


def _numbers(begin: int, end: int, device: torch.device) -> Tensor:
    return torch.arange(begin, end, dtype=torch.int32, device=device)


def _reinterpreted(values: Tensor, dtype: torch.dtype) -> Tensor:
    """The same bits as another dtype of that size. The host computes a `view` of a lazy tensor, since torch-xla 2.9
    lowers none of PyTorch's operators to XLA's own for it."""
    if values.device.type != "xla":
        return values.view(dtype)
    result: Tensor = _bitcast(dtype)(values)
    return result


@cache
def _bitcast(dtype: torch.dtype) -> Any:
    import torch_xla.core.xla_builder
    import torch_xla.core.xla_op_registry

    types = torch_xla.core.xla_builder.Type
    target = {torch.int32: types.S32, torch.float32: types.F32}[dtype]
    return torch_xla.core.xla_op_registry.register(f"bits_{target}", lambda values: values.bitcast(target))
