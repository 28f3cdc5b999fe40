"""Where a run writes: the log directory by B-11, and the files in it.

On an object store (`exp_dir: s3://…`) files are written to a local directory and copied (`Mirror`). Lines are appended
to `metrics.jsonl` at every step, which an object cannot do; so the log directory is a local one, and its files are
copied to the address whenever a checkpoint is complete and at the end. Checkpoints go there directly.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from neuron_api import contract
from neuron_api.config import TrainingConfig
from neuron_api.platform import directories
from neuron_trainer.storage import places

REFERENCE_FOLDER: Final = "reference_log_probs"
"""Where `reference_table` keeps its files. Named here, since the launcher starts without numpy."""
COMPILE_CACHE: Final = "compile_cache"
"""What was compiled for the run; not copied to the address: there may be thousands of files."""
_LEFT_OUT: Final = frozenset((contract.CHECKPOINTS_DIR, COMPILE_CACHE))
_AT_THE_END: Final = frozenset(("wandb", ".wandb"))
"""Of Weights & Biases, which writes there all the time: copied once, when it is closed."""


def local(address: str) -> Path:
    """Return the local directory that stands for an address; the same for every start on this machine."""
    name = address.rstrip("/").rpartition("/")[2]
    digest = hashlib.sha256(address.encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / "neuron-train-logs" / f"{name}-{digest}"


@dataclass(slots=True)
class Mirror:
    """The copy of the log directory `folder` at `address`."""

    folder: Path
    address: str
    _copied: dict[Path, tuple[int, int]] = field(default_factory=dict)
    """The size and time of modification of the files that were copied."""

    def fetch(self) -> None:
        """Copy from the address what is missing here: a new pod goes on with the lines of the one before."""
        self.folder.mkdir(parents=True, exist_ok=True)
        place = places.place(self.address)
        for folder in ("", REFERENCE_FOLDER):
            (self.folder / folder).mkdir(exist_ok=True)
            for remote in (place / folder if folder else place).glob("*.*"):
                local = self.folder / folder / remote.name
                if remote.is_file() and not local.exists():
                    with suppress(FileNotFoundError):
                        local.write_bytes(remote.read_bytes())

    def sync(self, *, is_last: bool = False) -> None:
        """Copy to the address what has changed since the last call; `is_last`: also what is copied once.

        The directory is in use: a file that has vanished meanwhile is passed over.
        """
        place = places.place(self.address)
        for local in self._files(_LEFT_OUT if is_last else _LEFT_OUT | _AT_THE_END):
            try:
                stat = local.stat()
                state = stat.st_size, stat.st_mtime_ns
                if self._copied.get(local) == state:
                    continue
                content = local.read_bytes()
            except FileNotFoundError:
                continue
            (place / local.relative_to(self.folder).as_posix()).write_bytes(content)
            self._copied[local] = state

    def _files(self, left_out: frozenset[str]) -> Iterator[Path]:
        for folder, folders, names in os.walk(self.folder):  # it passes over a directory that vanishes
            folders[:] = [name for name in folders if name not in left_out]
            paths = (Path(folder, name) for name in names if not name.startswith("."))
            yield from (path for path in paths if path.is_file())


RESOLVED_CONFIG: Final = "config.resolved.yaml"
RECOVERY_FILE: Final = "recovery.json"


def log_dir(config: TrainingConfig) -> Path:
    """Return `explicit_log_dir`, else `exp_dir/name[/version]`; the version only where a start may not resume.

    Equal on every node: the version comes from the environment in a pod; only a single node may take the clock.
    """
    manager = config.exp_manager
    if (url := address(config)) is not None:
        return local(url)
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


def mirror(config: TrainingConfig, folder: Path) -> Mirror | None:
    """Return what copies the log directory to its address on an object store; None where it has none."""
    url = address(config)
    return None if url is None else Mirror(folder, url)


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
    return _path(place) if place and not places.is_remote(place) else folder / COMPILE_CACHE


def _path(text: str) -> Path:
    return Path(os.path.expandvars(text)).expanduser().absolute()
