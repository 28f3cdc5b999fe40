"""Which rows a process sees in which step: global batch k is rows [k*GBS, (k+1)*GBS) of an epoch, without shuffle.

Data-parallel rank d takes rows d, d+DP, … of it, in order. The last partial batch of an epoch is dropped. A position is
a number of consumed samples since the beginning of training, over all epochs.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from neuron_trainer.parallel import Share

from .rows import Rows


class Steps(Dataset[dict[str, Tensor]]):
    """Item k is this process's part of global batch k."""

    def __init__(self, rows: Rows, global_batch: int, share: Share) -> None:
        self._rows, self._global_batch, self._share = rows, global_batch, share

    def __len__(self) -> int:
        return len(self._rows) // self._global_batch

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        start = step * self._global_batch
        return self._rows.take(range(start + self._share.rank, start + self._global_batch, self._share.size))


class _From(Sampler[int]):
    """Steps of one epoch, beginning where the position says; its length is always that of a whole epoch."""

    def __init__(self, steps: int, first: Callable[[], int]) -> None:
        self._steps, self._first = steps, first

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[int]:
        return iter(range(self._first(), self._steps))


class StepLoader(DataLoader[dict[str, Tensor]]):
    """A loader that Lightning may resume inside an epoch: the position is the run's own counter of samples."""

    def __init__(self, steps: Steps, global_batch: int, consumed: Callable[[], int], workers: int = 0) -> None:
        def first() -> int:
            return consumed() // global_batch % len(steps)

        # A generator of its own: the default one would be advanced at every start, and an interrupted run would no
        # longer draw the random numbers of an unbroken one.
        super().__init__(
            steps,
            sampler=_From(len(steps), first),
            batch_size=None,
            num_workers=workers,
            generator=torch.Generator().manual_seed(0),
        )

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the position is `consumed_samples`, which the checkpoint has anyway."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Its presence tells Lightning that resuming inside an epoch is exact."""
