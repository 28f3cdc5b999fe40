"""Copies of this process's state after steps, made beside training: two files in turns, so that one is always whole.

The order that makes a loss of more steps impossible: a copy begins after its step, and is complete before the next
update changes what it copies (`end_copy`). No process counts that next step as finished before all have said that they
have their copies (`confirm`), and so none overwrites the copy before it.
"""

import io
import logging
import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import torch

from neuron_api import memory_copies
from neuron_api.findings.finding import error
from neuron_trainer.checkpoint.staging import CheckpointTensor
from neuron_trainer.errors import InputError
from neuron_trainer.parallel import hosts
from neuron_trainer.storage.files import decimal_size

from .slot import CopyIdentity, Slot, TensorLayout, header_of

log = logging.getLogger(__name__)

_SLOTS: Final = (0, 1)


class MemoryCopies:
    """The two files of this process; making them is no collective, `confirm` is."""

    def __init__(
        self,
        folder: Path,
        identity: CopyIdentity,
        tensors: Callable[[], Mapping[str, CheckpointTensor]],
        *,
        is_async: bool,
    ) -> None:
        """`tensors`: returns those of this moment. `is_async`: copies are made by a thread; not where only the thread
        that computes may read a device.

        Raises `InputError` where the memory cannot be reserved.
        """
        self._identity, self._tensors = identity, tensors
        layout = TensorLayout(tensors())
        self._slots = _reserve([slot_path(folder, identity.rank, number) for number in _SLOTS], layout)
        self._thread = ThreadPoolExecutor(1, "memory-copy") if is_async else None
        self._pending: Future[None] | None = None
        self._is_unconfirmed = False
        self._next = 0

    def keep_only(self, step: int) -> None:
        """Take away all copies but those of a step: what training does from here on may differ from them."""
        for number, slot in enumerate(self._slots):
            header = header_of(slot.path)
            if header is not None and header.identity == self._identity and header.step == step > 0:
                self._next = 1 - number
            else:
                slot.clear()

    def read(self, step: int) -> dict[str, Any]:
        """Fill the tensors with the copy of a step and return the trainer's state; raises `CheckpointError`.

        A copy that cannot be read is taken away, so that the next start does without it.
        """
        slot = next(
            slot for slot in self._slots if (header := header_of(slot.path)) is not None and header.step == step
        )
        try:
            state: dict[str, Any] = torch.load(io.BytesIO(slot.read(self._tensors())), weights_only=True)
        except Exception:
            slot.clear()
            raise
        return state

    def begin(self, step: int, trainer_state: Mapping[str, Any]) -> None:
        """Begin the copy of a finished step; nothing may change the tensors before `end_copy`."""
        content = io.BytesIO()
        torch.save(dict(trainer_state), content)
        slot, self._next = self._slots[self._next], 1 - self._next
        self._is_unconfirmed = True
        arguments = (self._identity, step, self._tensors(), content.getvalue())
        if self._thread is None:
            slot.write(*arguments)
        else:
            self._pending = self._thread.submit(slot.write, *arguments)

    def end_copy(self) -> Callable[[], None]:
        """Wait for the copy in flight; return what waits until all processes have theirs (a collective)."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()
        if not self._is_unconfirmed:
            return _nothing
        self._is_unconfirmed = False
        confirmed = hosts.begin_vote(True)

        def confirm() -> None:
            confirmed()

        return confirm


def slot_path(folder: Path, rank: int, number: int) -> Path:
    """Return the file of a rank's copy."""
    return folder / f"rank-{rank}.{number}"


def steps_of(folder: Path, identity: CopyIdentity) -> list[int]:
    """Return the steps whose complete copies of this process are in the folder."""
    headers = [header_of(slot_path(folder, identity.rank, number)) for number in _SLOTS]
    return sorted(header.step for header in headers if header is not None and header.identity == identity)


def _reserve(paths: list[Path], layout: TensorLayout) -> list[Slot]:
    try:
        return [Slot(path, layout) for path in paths]
    except OSError as problem:
        folder, needed = paths[0].parent, len(paths) * layout.end
        message = (
            f"two copies of this process's state need {decimal_size(needed)}, and {folder} cannot hold them: "
            f"{os.strerror(problem.errno or 0)}."
        )
        raise InputError(
            [error(memory_copies.KEY, message, "Give the pod more shared memory, or remove the field.")]
        ) from None


def _nothing() -> None:
    """There is no copy to wait for."""
