"""Which samples a process sees in which step: global batch k of an epoch is its places [k*GBS, (k+1)*GBS).

Data-parallel rank d takes places d, d+DP, … of it, in order: step k has the same samples, in the same micro-batches,
however many processes share them. The last partial batch of an epoch is dropped, or filled with samples that do not
count. A position is a number of consumed samples since the beginning of training, over all epochs.

On a device batches are one ahead (`ahead`): the copy of a batch is under way while the step before it computes.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from neuron_trainer import accelerators
from neuron_trainer.parallel import Share

from .samples import IGNORED, SampleOrder, Samples, Single, TokenBounds

_HELD: Final = 3
"""Batches whose host memory is kept: a copy that has not ended reads from it, and the loss of the step before last has
been read by then (`step_results`)."""


def to_device(batch: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Return a batch on a device: one copy of each tensor, which the host does not wait for where memory is pinned."""
    return _copied(_pinned(batch, device), device)


def ahead(batches: Iterator[dict[str, Tensor]], device: torch.device) -> Iterator[dict[str, Tensor]]:
    """Yield the same batches on a device, each begun to be copied before the one before it is handed out.

    An error in reading a batch is raised in its turn, after the batch before.
    """
    held: deque[dict[str, Tensor]] = deque(maxlen=_HELD)
    pending: dict[str, Tensor] | None = None
    failure: Exception | None = None
    while True:
        try:
            batch = next(batches, None)
        except Exception as problem:
            batch, failure = None, problem
        following = None
        if batch is not None:
            held.append(host := _pinned(batch, device))
            following = _copied(host, device)
        if pending is not None:
            yield pending
        if failure is not None:
            raise failure
        if following is None:
            return
        pending = following


def _pinned(batch: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    integers = accelerators.get(device.type).integers
    narrow = {name: values.to(integers) if values.dtype == torch.int64 else values for name, values in batch.items()}
    return {name: accelerators.pinned(values, device) for name, values in narrow.items()}


def _copied(batch: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    return {name: values.to(device, non_blocking=True) for name, values in batch.items()}


_WORTH: Final = 1e-3
"""Seconds of a read from which a thread does the next ones. Its hand-overs cost a step 0.35 ms of processor time, most
of it in waiting for the interpreter (measured on a nano model); a few mapped rows are copied in less."""
_BATCHES: Final = 100
"""Batches that are then read ahead, until one is timed again."""


def batches(samples: int, global_batch: int, *, keeps_rest: bool, limit: int | float | None = None) -> int:
    """Return the global batches of an epoch; `limit`: see `Steps`."""
    length = samples // global_batch
    if keeps_rest and samples % global_batch:
        length += 1
    if isinstance(limit, float):
        limit = max(1, int(limit * length))
    return min(length, limit) if limit else length


class Steps(Dataset[dict[str, Tensor]]):
    """This process's parts of the global batches; item k is of global batch k, counted over all epochs."""

    def __init__(
        self,
        samples: Samples,
        global_batch: int,
        share: Share,
        order: SampleOrder | None = None,
        *,
        keeps_rest: bool = False,
        limit: int | float | None = None,
        vocabulary: TokenBounds | None = None,
    ) -> None:
        """`limit`: at most so many steps (whole) or such a part of all (a fraction, at least one step) are an epoch.
        `vocabulary`: every batch is checked against it."""
        self._samples, self._global_batch, self._share = samples, global_batch, share
        self._vocabulary = vocabulary
        self._order = order or Single()
        self._length = batches(len(samples), global_batch, keeps_rest=keeps_rest, limit=limit)

    def __len__(self) -> int:
        """Return the steps of one epoch."""
        return self._length

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        epoch, place = divmod(step, self._length)
        start = place * self._global_batch
        places = range(start + self._share.rank, start + self._global_batch, self._share.size)
        if places[-1] < len(self._samples):
            return self._take(self._order.at(epoch, places), step)
        filled = range(places.start, max(places.start, len(self._samples)), places.step)
        return self._filled(list(self._order.at(epoch, filled)), len(places), step)

    def _filled(self, indices: list[int], count: int, step: int) -> dict[str, Tensor]:
        """Return a batch of `count` samples; those that are missing at the end have no target."""
        batch = self._take([*indices, *[0] * (count - len(indices))], step)
        labels = batch["labels"].clone()
        labels[len(indices) :] = IGNORED
        return {**batch, "labels": labels}

    def _take(self, indices: Sequence[int], step: int) -> dict[str, Tensor]:
        """Return samples with the target of the output at t in `labels[..., t]`, whatever the data set has there."""
        batch = self._samples.take(indices)
        if self._vocabulary is not None:
            self._vocabulary.check(batch, indices, step + 1)
        if self._samples.labels_are_targets:
            return batch
        return {**batch, "labels": F.pad(batch["labels"][..., 1:], (0, 1), value=IGNORED)}


class _StepSampler(Sampler[int]):
    """The steps from the position to the end of its epoch; the length is always that of a whole epoch."""

    def __init__(self, steps: int, first: Callable[[], int], *, whole: bool) -> None:
        self._steps, self._first, self._whole = steps, first, whole

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[int]:
        first = self._first()
        return iter(range(first, first + self._steps - (0 if self._whole else first % self._steps)))


class StepLoader(DataLoader[dict[str, Tensor]]):
    """A loader that Lightning may resume inside an epoch: the position is the run's own counter of samples."""

    def __init__(
        self,
        steps: Steps,
        global_batch: int,
        consumed: Callable[[], int],
        workers: int = 0,
        *,
        whole: bool = False,
        device: torch.device | None = None,
        begin_reader: Callable[[int], None] | None = None,
        on_wait: Callable[[float], None] | None = None,
    ) -> None:
        """`whole`: as many steps as an epoch has, wherever it begins; for validation. `device`: where batches are
        copied to; by default they stay on the host. `begin_reader` is called in each process that reads, with its
        number, `on_wait` with the seconds that each batch was waited for."""
        self._on_wait = on_wait
        self._device = None if device is None or accelerators.get(device.type).is_host else device
        # A generator of its own: the default one would be advanced at every start, and an interrupted run would no
        # longer draw the random numbers of an unbroken one.
        super().__init__(
            steps,
            sampler=_StepSampler(len(steps), lambda: consumed() // global_batch, whole=whole),
            batch_size=None,
            num_workers=workers,
            worker_init_fn=begin_reader,
            generator=torch.Generator().manual_seed(0),
        )

    def __iter__(self) -> Iterator[dict[str, Tensor]]:  # type: ignore[override]
        """Read the next batch while a step computes: by the workers, or without any by a thread if it takes long."""
        batches: Iterator[dict[str, Tensor]] = super().__iter__()
        batches = batches if self.num_workers else _ahead(batches)
        batches = batches if self._device is None else ahead(batches, self._device)
        return batches if self._on_wait is None else _timed(batches, self._on_wait)

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: the position is `consumed_samples`, which the checkpoint has anyway."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Do nothing; that it exists tells Lightning that resuming inside an epoch is exact."""


def _timed(batches: Iterator[dict[str, Tensor]], on_wait: Callable[[float], None]) -> Iterator[dict[str, Tensor]]:
    while True:
        begun = time.monotonic()
        batch = next(batches, None)
        if batch is None:
            return
        on_wait(time.monotonic() - begun)
        yield batch


def _ahead(batches: Iterator[dict[str, Tensor]]) -> Iterator[dict[str, Tensor]]:
    """Yield the same batches; as long as reads take long, one begins as soon as the batch before is handed out."""
    with ThreadPoolExecutor(1, "next-batch") as reader:
        pending: Future[dict[str, Tensor] | None] | None = None
        remaining = 0
        while True:
            if pending is None:
                started = time.monotonic()
                batch = next(batches, None)
                remaining = _BATCHES if time.monotonic() - started > _WORTH else 0
            else:
                batch = pending.result()
            if batch is None:
                return
            if remaining:
                pending, remaining = reader.submit(next, batches, None), remaining - 1
            else:
                pending = None
            yield batch
