"""What the end of a worker means: a fault of its own, the loss of a peer, a device that is not free, or no fault.

Only the first uses up a restart and is put on record; what a runtime says of itself is the accelerator's knowledge.
"""

import signal
from collections.abc import Iterable, Mapping
from enum import StrEnum, auto

from neuron_trainer.accelerators import Accelerator


class Verdict(StrEnum):
    """What the end of a worker means."""

    OWN = auto()
    """A fault of its own, or of what it runs on."""
    PEER = auto()
    """Another process is gone, and its runtime ended this one for it."""
    DEVICE_BUSY = auto()
    """Its device was still another process's: wait, then start again."""
    COMPLETE = auto()
    """Every worker of this node had done its work, and this one fell while it was taken down."""


def first_fall(local_rank: int, exit_codes: Mapping[int, int | None]) -> int:
    """Return the local rank that fell first, where `local_rank` is one that fell; None: it lived, and was ended then.

    A process that was aborted may only have missed another one; those that lived are ended by SIGTERM.
    """
    if exit_codes.get(local_rank) != -signal.SIGABRT:
        return local_rank
    answers = (None, 0, -signal.SIGTERM, -signal.SIGABRT)
    return next((other for other, code in exit_codes.items() if code not in answers), local_rank)


def judge(accelerator: Accelerator, exit_code: int, text: str, local_rank: int, departures: Iterable[int]) -> Verdict:
    """Return what the end of a worker means; `text`: what it said last; see `WorkerChannel.departures`."""
    if local_rank in departures:
        return Verdict.COMPLETE
    if any(sign in text for sign in accelerator.busy):
        return Verdict.DEVICE_BUSY
    if exit_code == -signal.SIGABRT and accelerator.aborts_without_peers:
        return Verdict.PEER
    return Verdict.OWN
