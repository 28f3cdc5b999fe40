"""Batches on a device, one ahead: the copy of a batch is under way while the step before it computes."""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Final

import torch
from torch import Tensor

from neuron_trainer import accelerators

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
    return {name: accelerators.pinned(values, device) for name, values in batch.items()}


def _copied(batch: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    return {name: values.to(device, non_blocking=True) for name, values in batch.items()}
