"""The end of a worker: what it means, and what a process that failed has said: a sentence, a traceback, or the last
lines of its standard error.

It is a fault of its own, the loss of a peer, a device that is not free, or no fault. Only the first uses up a restart
and is put on record; what a runtime says of itself is the accelerator's knowledge.
"""

import json
import signal
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum, auto
from pathlib import Path
from typing import Any

from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

from neuron_api import redaction
from neuron_trainer.accelerators import Accelerator
from neuron_trainer.errors import ReportedError
from neuron_trainer.ipc import signals


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

    A process that was aborted may only have missed another one; those that lived are ended by signals.END.
    """
    if exit_codes.get(local_rank) != -signal.SIGABRT:
        return local_rank
    answers = (None, 0, -signals.END, -signal.SIGABRT)
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


def describe(failure: ProcessFailure, tail: Callable[[], str]) -> tuple[str, str]:
    """Return one line about a failure, and all that the process said of it, both without secrets of addresses, since
    they get into the job's status; `tail`: the last lines of its standard error, which is asked for where it left
    nothing else."""
    headline, text = _described(failure, tail)
    return redaction.addresses(headline), redaction.addresses(text)


def _described(failure: ProcessFailure, tail: Callable[[], str]) -> tuple[str, str]:
    if sentence := _sentence(failure):
        return sentence, ""
    if text := _traceback(failure):
        return text.strip().splitlines()[-1], text
    headline, lines = signal_name(failure.exitcode), tail()
    return headline, f"{lines}\n{headline}" if lines else ""


def _traceback(failure: ProcessFailure) -> str:
    """Return the traceback that torch's `record` wrote into the error file of the process."""
    try:
        return str(_message(failure)["extraInfo"]["py_callstack"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _sentence(failure: ProcessFailure) -> str:
    """Return the sentence of a `ReportedError`; empty where the process failed in another way."""
    try:
        name, _, sentence = str(_message(failure)["message"]).partition(": ")
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return sentence if name == ReportedError.__name__ else ""


def _message(failure: ProcessFailure) -> Any:
    return json.loads(Path(failure.error_file).read_text())["message"]


def signal_name(code: int) -> str:
    return f"ended by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
