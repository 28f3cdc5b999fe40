"""Which sample is at a place of an epoch; a function of the seed and the place alone."""

from collections.abc import Sequence
from typing import Protocol

import torch


class SampleOrder(Protocol):
    """The order of samples in each epoch."""

    def at(self, epoch: int, places: range) -> Sequence[int]:
        """Return the samples at these places of an epoch, which counts from 0."""
        ...


class Single:
    """The order of the data set, in every epoch (`dataloader_type: single`, and rows by default)."""

    def at(self, epoch: int, places: range) -> Sequence[int]:  # noqa: ARG002
        """See `SampleOrder`."""
        return places


class Cyclic:
    """A permutation for each epoch, drawn from seed + epoch (`dataloader_type: cyclic`, `shuffle_rows`)."""

    def __init__(self, samples: int, seed: int) -> None:
        self._samples, self._seed = samples, seed
        self._drawn: tuple[int, torch.Tensor] | None = None

    def at(self, epoch: int, places: range) -> Sequence[int]:
        """See `SampleOrder`; the permutation is drawn once per epoch."""
        if self._drawn is None or self._drawn[0] != epoch:
            generator = torch.Generator().manual_seed(self._seed + epoch)
            self._drawn = epoch, torch.randperm(self._samples, generator=generator)
        samples: list[int] = self._drawn[1][places.start : places.stop : places.step].tolist()
        return samples
