"""A log directory on an object store (`exp_dir: s3://…`): files are written to a local directory and copied.

Lines are appended to `metrics.jsonl` at every step, which an object cannot do; so the log directory is a local one, and
its files are copied to the address whenever a checkpoint is complete and at the end. Checkpoints go there directly.
"""

import hashlib
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from neuron_api import contract
from neuron_trainer.storage import places

REFERENCE_FOLDER: Final = "reference_log_probs"
"""Where `reference_table` keeps its files. Named here, since the launcher starts without numpy."""
COMPILE_CACHE: Final = "compile_cache"
"""What was compiled for the run; not copied to the address: there may be thousands of files."""
_LEFT_OUT: Final = frozenset((contract.CHECKPOINTS_DIR, COMPILE_CACHE))


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
                    local.write_bytes(remote.read_bytes())

    def sync(self) -> None:
        """Copy to the address what has changed since the last call."""
        place = places.place(self.address)
        for local in self._files():
            stat = local.stat()
            state = stat.st_size, stat.st_mtime_ns
            if self._copied.get(local) != state:
                (place / local.relative_to(self.folder).as_posix()).write_bytes(local.read_bytes())
                self._copied[local] = state

    def _files(self) -> list[Path]:
        paths = [path for path in self.folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
        return [path for path in paths if _LEFT_OUT.isdisjoint(path.relative_to(self.folder).parts)]
