"""Which sample stands at a place of an epoch; a function of the seed and the place alone."""

from collections.abc import Sequence
from typing import Protocol

import torch


class SampleOrder(Protocol):
    """One of the two below."""

    def at(self, epoch: int, places: range) -> Sequence[int]:
        """Samples at these places of an epoch, which counts from 0."""
        ...


class Single:
    """As the data set has them, in every epoch (`dataloader_type: single`, and rows by default)."""

    def at(self, epoch: int, places: range) -> Sequence[int]:  # noqa: ARG002
        """See `Order`."""
        return places


class Cyclic:
    """Each epoch is a permutation of its own, drawn from seed + epoch (`dataloader_type: cyclic`, `shuffle_rows`)."""

    def __init__(self, samples: int, seed: int) -> None:
        self._samples, self._seed = samples, seed
        self._drawn: tuple[int, torch.Tensor] | None = None

    def at(self, epoch: int, places: range) -> Sequence[int]:
        """See `Order`; the permutation is drawn once per epoch."""
        if self._drawn is None or self._drawn[0] != epoch:
            generator = torch.Generator().manual_seed(self._seed + epoch)
            self._drawn = epoch, torch.randperm(self._samples, generator=generator)
        found: list[int] = self._drawn[1][places.start : places.stop : places.step].tolist()
        return found
