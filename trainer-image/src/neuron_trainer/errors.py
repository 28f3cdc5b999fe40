"""What can go wrong, split into the user's input, the world around us, and our own bugs.

    TrainerError
    ├── InputError          the configuration or what it points at is wrong: exit code 2, starting again cannot help
    ├── CompilationError    the compiler refused a part of the model: exit code 4, starting again cannot help
    ├── TokenError          the data has a token that the model does not
    ├── DivergenceError     the loss or the gradients are not finite: starting again from the checkpoint may help
    ├── CheckpointError     a checkpoint cannot be read: the reader falls back to the one before
    │   └── NewerReleaseError   a later release wrote it
    ├── ProgressLostError   steps were finished and no checkpoint has them: exit code 3
    ├── DirectoryHeldError  another run holds the directory: exit code 2
    ├── DirectoryLostError  this run could not renew its lease, and another one has taken its directory
    ├── PeerLostError       a collective failed because another process is gone: wait for the new round
    ├── DeviceError         a process could not open its device
    ├── StartError          the processes could not be started: exit code 1
    ├── ReportedError       what a worker reports in one sentence; its stack is in the log file alone
    └── PreemptedError      SIGTERM: exit code 143
        └── NotBegunError   the same before training began

Anything else that is raised is a bug of ours or of the user's module and is shown with its traceback.
"""

import errno
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from neuron_api.findings.finding import Finding


class TrainerError(Exception):
    """The base of everything this package raises on purpose."""


class InputError(TrainerError):
    """All findings about the input, at once."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join(str(finding) for finding in self.findings))

    def __reduce__(self) -> tuple[type["InputError"], tuple[tuple[Finding, ...]]]:
        """Pickle by the findings: the error crosses processes."""
        return InputError, (self.findings,)


class CompilationError(TrainerError):
    """The compiler refused a part of the model; the text has its own words."""


class TokenError(TrainerError):
    """A sample has a token id outside of the model's vocabulary."""


class DivergenceError(TrainerError):
    """The loss or the gradients are no longer finite; checkpoints are from before that."""


class CheckpointError(TrainerError):
    """A checkpoint directory is not what its manifest says."""


class NewerReleaseError(CheckpointError):
    """A later release wrote the checkpoint: it is not damaged, and its steps must not be done again."""


class ProgressLostError(TrainerError):
    """The job would begin again at step 0 after finished steps, and its spec does not allow that."""


class DirectoryHeldError(TrainerError):
    """Another run holds the directory."""

    def __init__(self, folder: Path, holder: str, lock: str) -> None:
        self.folder, self.holder, self.lock = folder, holder, lock
        super().__init__(f"{folder} is held by another run: {holder}")


class DirectoryLostError(TrainerError):
    """Another run has the directory now: nothing more may be written there."""


class PeerLostError(TrainerError):
    """The other side of a collective is gone, or the rendezvous did not complete in time."""


class DeviceError(TrainerError):
    """A process could not open its device, or tensors are not on it."""


class StartError(TrainerError):
    """The processes of a round could not be started."""


class ReportedError(TrainerError):
    """The world around a worker, not the trainer, is wrong: one sentence with a remedy says so."""


class PreemptedError(TrainerError):
    """The node asked for its resources back."""


class NotBegunError(PreemptedError):
    """The node asked before training began: there is nothing to save."""

    def __init__(self) -> None:
        super().__init__("before training began")


_SPACE: Final = (
    "Free space there, keep fewer checkpoints (exp_manager.checkpoint_callback_params.save_top_k) or write them "
    "elsewhere (exp_manager.checkpoint_callback_params.dirpath); then start again."
)
_RIGHTS: Final = "Let the user of this process read and write it, then start again."
_STORAGE: Final = "Check the volume and its mount, then start again."
_REMEDIES: Final[Mapping[int, str]] = {
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EFBIG: _SPACE,
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: "Mount the volume writable, or write elsewhere; then start again.",
    errno.ENOENT: "Restore it, then start again.",
    errno.EIO: _STORAGE,
    errno.ESTALE: _STORAGE,
    errno.ENOTCONN: _STORAGE,
    errno.EMFILE: "Allow more open files (ulimit -n), then start again.",
}


_COMPILERS: Final = ("torch._dynamo", "torch._inductor")
"""Packages whose errors are those of a compilation; importing them takes 2 s."""
_NEURON_COMPILER: Final = (
    "RunNeuronCCImpl",
    "Failed compilation with",
    "Compilation error occurred on Neuron",
    "COMPILATION FAILED",
)
"""In an error of PyTorch/XLA or TorchNeuron whose compiler failed (docs/reference/upstream-facts.md#compiler-words)."""
_PYTHON_ERROR: Final = re.compile(r"<class '(?:[\w.]+\.)?(\w+)'>")
"""In an error of PyTorch/XLA: the class of what was raised: by the command of the compiler, or beside it"""
_COMMAND_ERRORS: Final = frozenset({"CalledProcessError", "RuntimeError"})
_NO_FAULT_OF_THE_MODEL: Final = (
    "No space left on device",
    "Cannot allocate memory",
    "Disk quota exceeded",
    "Input/output error",
    "Stale file handle",
    "Read-only file system",
    "Permission denied",
    "forcibly killed",
    "Killed signal",
    "signal 9",
    "signal 15",
    "died with <Signals",
    "No data available",
    "cached failed neff",
    "Timed out waiting for lock",
)
"""What a compiler says of the machine: another start may help."""
_EAGER: Final = "Set model.compile: eager to train without compiling, and report the stack in the log."
_MAX_WORDS: Final = 1500
"""Characters of the compiler's own words; its command line alone may have ten thousand."""


def compiler_refusal(problem: BaseException) -> str | None:
    """Return what a compiler says of a part of the model that it refuses, with a remedy; None for other errors."""
    text = str(problem).strip()
    is_compiler = type(problem).__module__.startswith(_COMPILERS) or any(sign in text for sign in _NEURON_COMPILER)
    raised = set(_PYTHON_ERROR.findall(text))
    if not is_compiler or not raised <= _COMMAND_ERRORS or any(sign in text for sign in _NO_FAULT_OF_THE_MODEL):
        return None
    words = text if len(text) <= _MAX_WORDS else f"{text[: _MAX_WORDS // 3]}\n[…]\n{text[-_MAX_WORDS * 2 // 3 :]}"
    first = f"a part of the model could not be compiled: {_reason(problem)}. {_EAGER}"
    return first if len(words.splitlines()) < 2 else f"{first}\nThe compiler says:\n{words}"


def failure_sentence(problem: Exception, *, is_own_module: bool) -> str | None:
    """Return one line with a remedy for a failure of the world around a worker, in place of torch's stack.

    None for what needs its stack: a bug of ours, or an error in a data module of the user's (`is_own_module`: there is
    one, and an error of the system may come from it).
    """
    if isinstance(problem, PeerLostError):
        return None
    is_system = isinstance(problem, OSError) and problem.errno is not None and not is_own_module
    if not (isinstance(problem, TrainerError) or is_system):
        return None
    text = " ".join(str(problem).splitlines()).strip() or type(problem).__name__
    remedy = next((remedy for number, remedy in _REMEDIES.items() if os.strerror(number) in text), "")
    return f"{text.rstrip('.')}. {remedy}" if remedy else text


def _reason(problem: BaseException) -> str:
    """Return the first line of a message, with the next one where it only introduces it."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()] or [type(problem).__name__]
    return " ".join(lines[: 2 if lines[0].endswith(":") else 1]).rstrip(".")
