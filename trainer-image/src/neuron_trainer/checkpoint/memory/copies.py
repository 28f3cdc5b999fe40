"""Copies of this process's state after steps, made beside training: two files in turns, so that one is always whole.

The order that makes a loss of more steps impossible: a copy begins after its step, and is complete before the next
update changes what it copies (`end_copy`). No process counts that next step as finished before all have said that they
have their copies (`confirm`), and so none overwrites the copy before it.
"""

import io
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, Final

import torch
from torch import Tensor

from neuron_api import memory_copies
from neuron_api.findings.finding import error
from neuron_trainer.checkpoint.staging import CheckpointTensor
from neuron_trainer.errors import InputError
from neuron_trainer.parallel import hosts
from neuron_trainer.storage.files import decimal_size

from .exchange import PeerExchange
from .slot import CopyIdentity, Slot, TensorLayout, header_of

log = logging.getLogger(__name__)

_SLOTS: Final = (0, 1)
"""Numbers of the files of a process."""


class MemoryCopies:
    """The two files of this process; making them is no collective, `confirm` is."""

    def __init__(
        self,
        folder: Path,
        identity: CopyIdentity,
        tensors: Callable[[], Mapping[str, CheckpointTensor]],
        *,
        is_async: bool,
        has_peer: bool = False,
    ) -> None:
        """`tensors`: returns those of this moment. `is_async`: copies are made by a thread; not where only the thread
        that computes may read a device. `has_peer`: each copy is also sent to another node; then this is a collective.

        Raises `InputError` where the memory cannot be reserved.
        """
        self._identity, self._tensors = identity, tensors
        layout = TensorLayout(tensors())
        self._needed = (2 if has_peer else 1) * len(_SLOTS) * layout.end
        with _naming(folder, self._needed):
            self._slots = [Slot(slot_path(folder, identity.rank, number), layout) for number in _SLOTS]
            self._peer = PeerExchange(folder, identity, layout.end) if has_peer else None
        self._thread = ThreadPoolExecutor(1, "memory-copy")
        self._is_async = is_async
        self._pending: Future[None] | None = None
        self._sending: Future[None] | None = None
        self._is_unconfirmed = False
        self._next = 0
        self._start = 0
        self._folder, self._lock = folder, Lock()
        self._pinned: int | None = None
        """Number of the file that is not written any more."""
        self._written: int | None = None
        """Number of the file that `_pending` writes."""

    def keep_only(self, step: int) -> None:
        """Take away all copies but those of a step: what training does from here on may differ from them."""
        for number, slot in enumerate(self._slots):
            header = slot.header
            if header is not None and header.identity == self._identity and header.step == step > 0:
                self._next = 1 - number
            else:
                slot.clear()
        if self._peer is not None:
            self._peer.keep_only(step)

    def prepare(self, step: int, missing: Sequence[int]) -> None:
        """Make a start of a step ready, 0 without one: `missing` ranks get their copy of it, and each copy is on
        another node again; a collective. All others stay until `begin_training`."""
        self._start = step
        if self._peer is not None and step:
            own = self._of_step(step) or min(
                self._slots, key=lambda slot: header.step if (header := slot.header) else 0
            )
            self._peer.fetch(missing, step, self._identity, own)
            self._peer.replicate(own, step)

    def begin_training(self) -> None:
        """Take away all copies but the start's, once all processes have loaded what they start from; a collective."""
        hosts.begin_vote(True)()
        self.keep_only(self._start)

    def touch(self) -> None:
        """Let the files say that the run lives: copies may be rarer than the sweep of dead launchers' folders."""
        self._slots[0].touch()

    def _of_step(self, step: int) -> Slot | None:
        """Return the file with this run's copy of a step."""
        for slot in self._slots:
            header = slot.header
            if header is not None and header.identity == self._identity and header.step == step:
                return slot
        return None

    def read(self, step: int) -> dict[str, Any]:
        """Fill the tensors with the copy of a step and return the trainer's state; raises `CheckpointError`.

        A copy that cannot be read is taken away, so that the next start does without it.
        """
        slot = self._of_step(step)
        assert slot is not None, "all processes have it: they have agreed on the step"
        try:
            state = _state(slot.read(self._tensors()))
        except Exception:
            slot.clear()
            raise
        return state

    @property
    def steps(self) -> list[int]:
        """Return the steps of the complete copies of this process."""
        headers = [slot.header for slot in self._slots]
        return sorted(header.step for header in headers if header is not None)

    def pin(self, step: int) -> bool:
        """Keep the copy of a step where it is; return False where it is gone. Later ones share the other file."""
        with self._lock:
            is_writing = self._pending is not None and not self._pending.done()
            for number, slot in enumerate(self._slots):
                if is_writing and number == self._written:
                    continue
                if (header := slot.header) is not None and header.step == step:
                    self._pinned = number
                    return True
        return False

    def pinned(self, step: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the tensors of the copy that is pinned, in its memory, and the trainer's state."""
        assert self._pinned is not None
        slot = self._slots[self._pinned]
        header = slot.header
        assert header is not None and header.step == step
        return slot.views(self._tensors()), _state(slot.state(header.state_size))

    def begin(self, step: int, trainer_state: Mapping[str, Any]) -> None:
        """Begin the copy of a finished step; nothing may change the tensors before `end_copy`."""
        content = io.BytesIO()
        torch.save(dict(trainer_state), content)
        self._is_unconfirmed = True
        with self._lock:
            number = self._next if self._pinned is None else 1 - self._pinned
            slot, self._next = self._slots[number], 1 - number
            arguments = (self._identity, step, self._tensors(), content.getvalue())
            if self._is_async:
                self._pending = self._thread.submit(slot.write, *arguments)
                self._written = number
            else:
                with self._full():
                    slot.write(*arguments)
        if self._peer is not None:
            self._sending = self._thread.submit(self._peer.exchange, slot)

    def _full(self) -> AbstractContextManager[None]:
        """Say what is needed where the trainer's state takes more memory than there is."""
        return _naming(self._folder, self._needed)

    def end_copy(self) -> Callable[[], None]:
        """Wait for the copy in flight; return what waits until all processes have theirs (a collective)."""
        if self._pending is not None:
            with self._full():
                self._pending.result()
            self._pending = None
        if not self._is_unconfirmed:
            return _nothing
        self._is_unconfirmed = False
        sending, self._sending = self._sending, None
        confirmed = hosts.begin_vote(True) if sending is None else None

        def confirm() -> None:
            if sending is not None:
                with self._full(), hosts.waited.waiting():
                    sending.result()
            (confirmed or hosts.begin_vote(True))()

        return confirm


def slot_paths(folder: Path, rank: int) -> list[Path]:
    """Return the files of a rank's copies."""
    return [slot_path(folder, rank, number) for number in _SLOTS]


def slot_path(folder: Path, rank: int, number: int) -> Path:
    """Return the file of a rank's copy."""
    return folder / f"rank-{rank}.{number}"


def steps_of(folder: Path, identity: CopyIdentity) -> list[int]:
    """Return the steps whose complete copies of this process are in the folder."""
    headers = [header_of(path) for path in slot_paths(folder, identity.rank)]
    return sorted(header.step for header in headers if header is not None and header.identity == identity)


def _state(content: bytes) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(io.BytesIO(content), weights_only=True)
    return state


@contextmanager
def _naming(folder: Path, needed: int) -> Iterator[None]:
    """Say what is needed where memory cannot be reserved; raises `InputError`."""
    try:
        yield
    except OSError as problem:
        message = (
            f"the copies of this process need {decimal_size(needed)}, and {folder} cannot hold them: "
            f"{os.strerror(problem.errno or 0)}."
        )
        raise InputError(
            [error(memory_copies.KEY, message, "Give the pod more shared memory, or remove the field.")]
        ) from None


def _nothing() -> None:
    """There is no copy to wait for."""
