"""The bytes of a configuration file: a regular file, or what a shell hands over as `<(command)` or /dev/stdin."""

from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Final

from neuron_api.findings.finding import error
from neuron_api.loading import foreign_formats
from neuron_api.loading.limits import MAX_BYTES
from neuron_trainer.errors import InputError

_OPEN_ALREADY: Final = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")
"""Pipes that have a writer. Any other pipe might have none, and reading it would wait forever."""
_REMEDY: Final = "Give the path of a configuration in YAML."


def read(path: Path) -> bytes:
    """Return at most one byte more than a configuration may have; raises `InputError`."""
    if program := foreign_formats.program_of(path.name):
        message = f"{path} is {program}, not a configuration."
        raise InputError([error("", message, foreign_formats.PROGRAM_REMEDY)])
    try:
        mode = path.stat().st_mode
        if S_ISDIR(mode):
            raise _fault(f"{path} is a directory.")
        if not S_ISREG(mode) and not str(path).startswith(_OPEN_ALREADY):
            raise _fault(f"{path} is not a regular file.")
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as problem:  # ValueError: a NUL in the path
        raise _fault(f"{path} cannot be read: {getattr(problem, 'strerror', None) or problem}.") from None


def _fault(message: str) -> InputError:
    return InputError([error("", message, _REMEDY)])
