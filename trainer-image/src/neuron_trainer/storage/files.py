"""Writing files: errors name their file (the system names none: `[Errno 28] No space left on device`), and a reader
never sees half of a text."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """What is done inside is done with this file; raises `OSError` with its name."""
    try:
        yield
    except OSError as problem:
        if problem.filename is not None or problem.errno is None:
            raise
        raise OSError(problem.errno, problem.strerror, str(path)) from None


def replace(path: Path, text: str) -> None:
    """Write so that a reader sees the old or the new text, whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with naming(path):
        temporary.write_text(text)
        temporary.replace(path)
