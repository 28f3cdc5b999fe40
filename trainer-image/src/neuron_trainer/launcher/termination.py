"""How the launcher ends: its exit code, what it says last to people and to the operator, and the message that the
kubelet keeps of a container (at most 4096 bytes)."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from neuron_api import contract
from neuron_api.contract import ExitCode
from neuron_api.resource.progress import Progress

_CUT: Final = "[…]\n"


@dataclass(frozen=True, slots=True)
class LauncherOutcome:
    """How the launcher ends."""

    code: ExitCode
    message: str
    """For people."""
    final_report: str = ""
    """For the operator, in place of the message, where training has ended well."""


def write(text: str, path: str = contract.TERMINATION_LOG) -> None:
    """Write the message; outside of a pod there is no such file, and nothing happens."""
    if os.access(path, os.W_OK):
        with open(path, "wb") as file:  # noqa: PTH123  a device-like file: never replaced, never created
            file.write(shorten(text))


def shorten(text: str, limit: int = contract.TERMINATION_MESSAGE_LIMIT) -> bytes:
    """Cut a text in the middle: the first line says what happened, and the end of a traceback says why."""
    data = text.encode(errors="replace")
    if len(data) <= limit:
        return data
    head = data.partition(b"\n")[0][: limit // 4].decode(errors="ignore")
    start = f"{head}\n{_CUT}".encode()
    tail = data[-(limit - len(start)) :].decode(errors="ignore")
    return start + tail.encode()


def nothing_to_do(checkpoint: Path, step: int, max_steps: int) -> str:
    """Return what is said of a run whose newest checkpoint is at or past its last step."""
    if step > max_steps:
        return f"nothing to do: {checkpoint} is at step {step}, {step - max_steps} past max_steps {max_steps}"
    return f"nothing to do: {checkpoint} is at the last step already"


def last_sentence(outcomes: set[str], report: Progress, folder: Path) -> str:
    """Return how a training that did not fail has ended: whether there is more to do, and how to go on."""
    from neuron_trainer.worker import WorkerOutcome  # torch

    step = f"at step {report.step}" + (f" of {report.max_steps}" if report.max_steps else "")
    if WorkerOutcome.OUT_OF_TIME in outcomes:
        return (
            f"trainer.max_time is over {step}: training has not ended. To continue from there, start again with "
            f"exp_manager.resume_if_exists and the log directory {folder}."
        )
    if WorkerOutcome.STOPPED_EARLY in outcomes:
        return f"early stopping ended the training {step}"
    return f"training has ended {step}"
