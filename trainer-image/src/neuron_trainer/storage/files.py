"""Writing files: errors name their file (the system names none: `[Errno 28] No space left on device`), and a reader
never sees half of a text; JSON that every reader takes; sizes as people read them."""

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

_UNITS: Final = (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3))


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give an `OSError` that is raised inside and names no file the name of this one."""
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


def json_dumps(value: Any, indent: int | None = None) -> str:
    """Return plain values as JSON; a number that is not finite is null, for JSON has no NaN and no Infinity."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def decimal_size(count: int) -> str:
    """Return a number of bytes in the largest decimal unit that fits: `1.5 GB`, `12.0 kB`, `7 B`."""
    return next((f"{count / size:.1f} {unit}" for unit, size in _UNITS if count >= size), f"{count} B")
