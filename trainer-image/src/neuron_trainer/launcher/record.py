"""What a start leaves in the log directory before it trains: the configuration, its command line, files to copy."""

import logging
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import yaml

from neuron_api.config import TrainingConfig
from neuron_api.loading.loader import Loaded
from neuron_trainer.data import source
from neuron_trainer.run_directory import recorded_files
from neuron_trainer.run_directory.log_dir import RESOLVED_CONFIG
from neuron_trainer.storage.files import naming, replace

log = logging.getLogger(__name__)

COMMAND_LINES: Final = "cmd-args.log"


def write(folder: Path, loaded: Loaded, config: TrainingConfig) -> None:
    """By the one who holds the directory. The configuration is this start's; command lines are kept of all."""
    replace(folder / RESOLVED_CONFIG, yaml.safe_dump(loaded.resolved, sort_keys=False))
    with naming(folder / COMMAND_LINES), (folder / COMMAND_LINES).open("a") as file:
        file.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC {shlex.join(sys.argv)}\n")
    recorded_files.copy(config.exp_manager.files_to_copy or (), folder)
    if note := source.order_note(config):
        log.info("%s", note)
