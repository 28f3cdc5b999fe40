"""`exp_manager.files_to_copy`: what belongs to the record of a run, copied to its log directory."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from neuron_api.findings.finding import Finding, error
from neuron_trainer.data.paths import exists, is_directory


def copy(paths: Iterable[str], folder: Path) -> None:
    """Each under its own name; what an earlier start copied is replaced."""
    for text in paths:
        source = _path(text)
        if is_directory(source):
            shutil.copytree(source, folder / source.name, dirs_exist_ok=True)
        else:
            shutil.copy2(source, folder / source.name)


def check(paths: Iterable[str]) -> list[Finding]:
    """Those that are not there."""
    return [
        error("exp_manager.files_to_copy", f"{text} is not there.", "Give files that the pod can read.")
        for text in paths
        if not exists(_path(text))
    ]


def _path(text: str) -> Path:
    return Path(os.path.expandvars(text)).expanduser()
