"""Paths in a configuration: `$HOME` and `~` mean what they mean in a shell."""

import os
from pathlib import Path


def is_directory(path: Path) -> bool:
    """Return whether it is one; a name that the file system refuses, one too long, is none."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def exists(path: Path) -> bool:
    """Return whether anything has this name; a name that the file system refuses is none."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def is_file(path: Path) -> bool:
    """Return whether it is a regular file; a name that the file system refuses is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def expanded(text: str) -> Path:
    """Absolute, variables and home directory filled in."""
    return Path(os.path.expandvars(text)).expanduser().absolute()
