"""Where a run writes: the log directory by B-11, and the files in it."""

import os
from datetime import datetime
from pathlib import Path
from typing import Final

from neuron_api import contract
from neuron_api.config import TrainingConfig
from neuron_api.platform import directories
from neuron_trainer.storage import places

from . import log_mirror

RESOLVED_CONFIG: Final = "config.resolved.yaml"
RECOVERY_FILE: Final = "recovery.json"


def log_dir(config: TrainingConfig) -> Path:
    """`explicit_log_dir`, else `exp_dir/name[/version]`; the version only where a start may not resume.

    Equal on every node: the version comes from the environment in a pod; only a single node may take the clock.
    """
    manager = config.exp_manager
    if (there := address(config)) is not None:
        return log_mirror.local(there)
    if manager.explicit_log_dir:
        return _path(manager.explicit_log_dir)
    exp_dir = _path(manager.exp_dir or "nemo_experiments")
    base = exp_dir / directories.experiment_path(config, None)
    if manager.resume_if_exists:
        return base
    version = os.environ.get(contract.ENV_EXPERIMENT_VERSION) or manager.version
    if version is None and manager.use_datetime_version:
        version = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    return exp_dir / directories.experiment_path(config, version or _next_version(base))


def address(config: TrainingConfig) -> str | None:
    """Of a log directory on an object store (`s3://…`); None: it is a directory."""
    manager = config.exp_manager
    given = os.path.expandvars(manager.explicit_log_dir or manager.exp_dir or "").rstrip("/")
    if not places.is_remote(given):
        return None
    if manager.explicit_log_dir:
        return given
    version = "" if manager.resume_if_exists else os.environ.get(contract.ENV_EXPERIMENT_VERSION) or manager.version
    if version is None:
        version = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    return f"{given}/{directories.experiment_path(config, version or None)}"


def mirror(config: TrainingConfig, folder: Path) -> log_mirror.Mirror | None:
    """What brings the files of the log directory to its address."""
    there = address(config)
    return None if there is None else log_mirror.Mirror(folder, there)


def _next_version(base: Path) -> str:
    """`version_<n>` after the highest that is there."""
    numbers = [int(path.name.rpartition("_")[2]) for path in base.glob("version_*") if path.name[8:].isdigit()]
    return f"version_{max(numbers, default=-1) + 1}"


def checkpoints(config: TrainingConfig, folder: Path) -> Path:
    """Where the run's own checkpoints lie: `dirpath`, else a directory of the log directory."""
    given = config.exp_manager.checkpoint_callback_params.dirpath
    if given:
        return places.place(given)
    there = address(config)
    return (folder if there is None else places.place(there)) / contract.CHECKPOINTS_DIR


def _path(text: str) -> Path:
    return Path(os.path.expandvars(text)).expanduser().absolute()
