"""Where a run writes: the log directory by B-11, and the files in it."""

import os
from datetime import datetime
from pathlib import Path
from typing import Final

from neuron_api import contract
from neuron_api.config import TrainingConfig

RESOLVED_CONFIG: Final = "config.resolved.yaml"
RECOVERY_FILE: Final = "recovery.json"


def log_dir(config: TrainingConfig) -> Path:
    """`explicit_log_dir`, else `exp_dir/name[/version]`; the version only where a start may not resume.

    Equal on every node: the version comes from the environment in a pod; only a single node may take the clock.
    """
    manager = config.exp_manager
    if manager.explicit_log_dir:
        return _path(manager.explicit_log_dir)
    base = _path(manager.exp_dir or "nemo_experiments") / (manager.name or config.name)
    if manager.resume_if_exists:
        return base
    version = os.environ.get(contract.ENV_EXPERIMENT_VERSION) or manager.version
    if version is None and manager.use_datetime_version:
        version = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    return base / (version or _next_version(base))


def _next_version(base: Path) -> str:
    """`version_<n>` after the highest that is there."""
    numbers = [int(path.name.rpartition("_")[2]) for path in base.glob("version_*") if path.name[8:].isdigit()]
    return f"version_{max(numbers, default=-1) + 1}"


def checkpoints(folder: Path) -> Path:
    """Where the run's own checkpoints lie."""
    return folder / contract.CHECKPOINTS_DIR


def _path(text: str) -> Path:
    return Path(os.path.expandvars(text)).expanduser().absolute()
