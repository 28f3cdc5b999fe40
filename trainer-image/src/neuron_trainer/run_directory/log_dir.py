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
    """Return `explicit_log_dir`, else `exp_dir/name[/version]`; the version only where a start may not resume.

    Equal on every node: the version comes from the environment in a pod; only a single node may take the clock.
    """
    manager = config.exp_manager
    if (url := address(config)) is not None:
        return log_mirror.local(url)
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
    """Return the address of a log directory on an object store (`s3://…`); None: it is a directory."""
    manager = config.exp_manager
    base = os.path.expandvars(manager.explicit_log_dir or manager.exp_dir or "").rstrip("/")
    if not places.is_remote(base):
        return None
    if manager.explicit_log_dir:
        return base
    version = "" if manager.resume_if_exists else os.environ.get(contract.ENV_EXPERIMENT_VERSION) or manager.version
    if version is None:
        version = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    return f"{base}/{directories.experiment_path(config, version or None)}"


def mirror(config: TrainingConfig, folder: Path) -> log_mirror.Mirror | None:
    """Return what copies the log directory to its address on an object store; None where it has none."""
    url = address(config)
    return None if url is None else log_mirror.Mirror(folder, url)


def _next_version(base: Path) -> str:
    """Return `version_<n>` after the highest that exists."""
    numbers = [int(path.name.rpartition("_")[2]) for path in base.glob("version_*") if path.name[8:].isdigit()]
    return f"version_{max(numbers, default=-1) + 1}"


def checkpoints(config: TrainingConfig, folder: Path) -> Path:
    """Return where the run's own checkpoints are: `dirpath`, else a directory of the log directory."""
    if dirpath := config.exp_manager.checkpoint_callback_params.dirpath:
        return places.place(dirpath)
    url = address(config)
    return (folder if url is None else places.place(url)) / contract.CHECKPOINTS_DIR


def compile_cache(config: TrainingConfig, folder: Path) -> Path:
    """Return where compiled graphs are kept: `compiler_cache_url` if it is a directory, else in the log directory."""
    place = (config.compiler_cache_url or "").removeprefix("file://")
    return _path(place) if place and not places.is_remote(place) else folder / log_mirror.COMPILE_CACHE


def _path(text: str) -> Path:
    return Path(os.path.expandvars(text)).expanduser().absolute()
