"""What a process that failed has said: a sentence, a traceback, or the last lines of its standard error."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

from neuron_trainer.errors import ReportedError


def describe(failure: ProcessFailure, tail: Callable[[], str]) -> tuple[str, str]:
    """Return one line about a failure, and all that the process said of it; `tail`: the last lines of its standard
    error, which is asked for where it left nothing else."""
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
