"""What a start leaves in the log directory before it trains: the configuration and the command line, both without
secrets, and the files that `exp_manager.files_to_copy` names."""

import os
import shlex
import shutil
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import yaml

from neuron_api import redaction
from neuron_api.findings.finding import Finding, error
from neuron_api.loading.loader import Loaded
from neuron_trainer.data.paths import exists, is_directory
from neuron_trainer.storage.files import naming, replace

from .log_dir import RESOLVED_CONFIG

COMMAND_LINES: Final = "cmd-args.log"


def write_start(folder: Path, loaded: Loaded, files_to_copy: Iterable[str]) -> None:
    """Record a start; only the holder of the directory may.

    The configuration and the files replace those of earlier starts; the command line is appended.
    """
    replace(folder / RESOLVED_CONFIG, yaml.safe_dump(redaction.values(loaded.resolved), sort_keys=False))
    with naming(folder / COMMAND_LINES), (folder / COMMAND_LINES).open("a") as file:
        file.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC {shlex.join(map(redaction.argument, sys.argv))}\n")
    copy_files(files_to_copy, folder)


def copy_files(paths: Iterable[str], folder: Path) -> None:
    """Copy each path under its own name, over what an earlier start copied."""
    for text in paths:
        source = _path(text)
        if is_directory(source):
            shutil.copytree(source, folder / source.name, dirs_exist_ok=True)
        else:
            shutil.copy2(source, folder / source.name)


def check_files(paths: Iterable[str]) -> list[Finding]:
    """Return a finding for each path that does not exist."""
    return [
        error("exp_manager.files_to_copy", f"{text} does not exist.", "Give files that the pod can read.")
        for text in paths
        if not exists(_path(text))
    ]


def _path(text: str) -> Path:
    return Path(os.path.expandvars(text)).expanduser()
