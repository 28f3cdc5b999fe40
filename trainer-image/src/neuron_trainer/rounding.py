"""Stochastic rounding of fp32 to bf16: up or down at random, in proportion, so that the mean is the value (B-3).

The random bits of an element follow from (seed, step, tensor) and the element's place in the whole tensor (B-19), and
from nothing else: every process that holds the element rounds it alike, whatever the split, and a resumed run rounds as
the unbroken one would have. The state of this generator is therefore the number of the step, which a checkpoint has.

Bits are SplitMix64's (Steele, Lea and Flood, OOPSLA 2014): output n of the generator with seed `key` is a hash of
`key + n * _GOLDEN`, so that any part of the sequence can be computed alone. torch's generator on the CPU, a Mersenne
twister, would have to draw the whole tensor on each process.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import torch
from torch import Tensor

_GOLDEN: Final = 0x9E3779B97F4A7C15 - 2**64
_MIXERS: Final = ((30, 0xBF58476D1CE4E5B9 - 2**64), (27, 0x94D049BB133111EB - 2**64))
"""Shift and factor of the two rounds; int64 arithmetic wraps as the paper's uint64 does."""
_LAST_SHIFT: Final = 31
_EACH: Final = 4
"""Elements that take 16 bits of one output."""


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
    """Uniform integers 0..65535, int32, for the shard of `shape` at `place`."""
    *leading, width = place.shape or (1,)
    *first, column = place.offset or (0,)
    *lengths, columns = shape or (1,)
    words = -(-width // _EACH)
    from_word, to_word = column // _EACH, -(-(column + columns) // _EACH)
    row = torch.zeros((), dtype=torch.int64, device=device)
    for size, begin, length in zip(leading, first, lengths, strict=True):
        own = torch.arange(begin, begin + length, dtype=torch.int64, device=device)
        row = row[..., None] * size + own
    word = row[..., None] * words + torch.arange(from_word, to_word, dtype=torch.int64, device=device)
    drawn = _parts(_mix(word, key))
    skipped = column - from_word * _EACH
    return (drawn[..., skipped : skipped + columns].to(torch.int32) & 0xFFFF).view(shape)


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


def _parts(words: Tensor) -> Tensor:
    """int64 [..., n] to integers [..., 4 n] whose low 16 bits are those of each word, the lowest ones first."""
    if words.device.type != "xla":
        return words.view(torch.int16)
    shifts = (words >> 16 * place for place in range(_EACH))
    return torch.stack([(part & 0xFFFF).to(torch.int32) for part in shifts], dim=-1).flatten(-2)


def _mix(position: Tensor, key: int) -> Tensor:
    """Outputs of SplitMix64 at these positions; the tensor is overwritten."""
    state = position.mul_(_GOLDEN).add_(key)
    for shift, factor in _MIXERS:
        state = state.bitwise_xor_(_shifted(state, shift)).mul_(factor)
    return state.bitwise_xor_(_shifted(state, _LAST_SHIFT))


def _shifted(state: Tensor, by: int) -> Tensor:
    """Shift to the right, with zeros from the left; low bits go first, since PyTorch/XLA divides and truncates."""
    return ((state & -(1 << by)) >> by).bitwise_and_((1 << (64 - by)) - 1)
