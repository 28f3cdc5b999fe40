"""Seeds of one checkpointed random stream, and numbers that are computed from them."""

from collections.abc import Callable, Iterable
from typing import Final

import torch
from torch import Tensor

_SEEDS: Final = 2**62
"""How many seeds there are."""
_HALF: Final = 31
"""Bits of each of the two int32 that a seed is for a device, which may have no int64."""
_MASK: Final = 2**_HALF - 1
_MIXERS: Final = ((16, 0x7FEB352D), (15, 0x846CA68B - 2**32))
"""Shift and factor of the two rounds of lowbias32; int32 arithmetic wraps."""
_LAST_SHIFT: Final = 16


class SeedQueue:
    """Seeds for one pass through a compiled layer: a graph takes them as an input, since it can draw none.

    They are drawn before the pass, as many as it needs and in their order, so they are those of eager execution.
    """

    def __init__(self, modules: Iterable["Seeded"], copy: Callable[[Tensor], Tensor] | None = None) -> None:
        """`copy` brings a tensor of the host to the device that computes; None: that is the host."""
        self.modules = tuple(modules)
        """Those of the layer, in the order of their calls; a pass calls each once."""
        self._copy = copy
        self.seeds: Tensor | None = None
        """int64 [n] on the host, int32 [n, 2] on a device."""
        self.place = 0

    def fill(self) -> None:
        """Draw the seeds of the next pass."""
        drawn = [_draw() + module.stream for module in self.modules if module.is_active]
        self.seeds, self.place = torch.stack(drawn) if drawn else None, 0
        if self.seeds is not None and self._copy is not None:
            self.seeds = self._copy(halves(self.seeds))

    def take(self) -> Tensor:
        """Return the next one: an int64 scalar, on a device int32 [2]."""
        assert self.seeds is not None
        seed = self.seeds[self.place]
        self.place += 1
        return seed


class Seeded:
    """A module that takes one seed for each call while it is active, from the default generator of the CPU.

    That generator is saved with checkpoints, put back by recompute, and in the same state on all processes.
    """

    queue: SeedQueue | None = None
    """Set by a backend that compiles the layer of which this is a part."""
    stream = 0
    """Added to the seed."""

    @property
    def is_active(self) -> bool:
        """Return whether the next call needs a seed."""
        raise NotImplementedError

    def next_seed(self) -> int | Tensor:
        """Return the seed of a call, a tensor in a graph."""
        return int(_draw()) + self.stream if self.queue is None else self.queue.take()


def _draw() -> Tensor:
    return torch.randint(_SEEDS, (), device="cpu")


def halves(seeds: Tensor) -> Tensor:
    """Return seeds [...] as a device takes them, int32 [..., 2]."""
    return torch.stack([seeds & _MASK, (seeds >> _HALF) & _MASK], dim=-1).to(torch.int32)


def hashed(numbers: Tensor, seed: int | Tensor, key: int = 0) -> Tensor:
    """Random bits for int32 numbers, others for each key: they and the halves of the seed by a hash (lowbias32, C.
    Wellons, 2018)."""
    low, high = (seed & _MASK, (seed >> _HALF) & _MASK) if isinstance(seed, int) else seed.unbind()
    return _mix(_mix(numbers + ((low + key) & _MASK)) + high)


def _mix(bits: Tensor) -> Tensor:
    for shift, factor in _MIXERS:
        bits = shifted(bits, shift).bitwise_xor_(bits).mul_(factor)
    return shifted(bits, _LAST_SHIFT).bitwise_xor_(bits)


def shifted(bits: Tensor, by: int) -> Tensor:
    """Return int32 shifted to the right, with zeros from the left; low bits go first, since PyTorch/XLA divides and
    truncates."""
    return (bits & -(1 << by)).bitwise_right_shift_(by).bitwise_and_((1 << (32 - by)) - 1)
