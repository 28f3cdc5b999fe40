"""Paths in a configuration: `$HOME` and `~` mean what they mean in a shell."""

import os
from pathlib import Path


def expanded(text: str) -> Path:
    """Absolute, variables and home directory filled in."""
    return Path(os.path.expandvars(text)).expanduser().absolute()
