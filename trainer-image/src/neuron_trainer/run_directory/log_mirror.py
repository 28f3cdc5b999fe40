"""A log directory on an object store (`exp_dir: s3://…`): files are written here and brought there.

Lines are appended to `metrics.jsonl` at every step, which an object cannot do; so the log directory is a local one, and
its files are copied to the address whenever a checkpoint is complete and at the end. Checkpoints go there directly.
"""

import hashlib
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from neuron_api import contract
from neuron_trainer.storage import places


def local(address: str) -> Path:
    """The directory here that stands for an address; the same for every start on this machine."""
    name = address.rstrip("/").rpartition("/")[2]
    digest = hashlib.sha256(address.encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / "neuron-train-logs" / f"{name}-{digest}"


@dataclass(slots=True)
class Mirror:
    """Of the log directory `folder` at `address`."""

    folder: Path
    address: str
    _brought: dict[Path, tuple[int, int]] = field(default_factory=dict)
    """Size and time of modification of what is there."""

    def fetch(self) -> None:
        """What earlier starts brought there and is not here: a new pod goes on with the lines of the one before."""
        self.folder.mkdir(parents=True, exist_ok=True)
        place = places.place(self.address)
        for there in place.glob("*.*"):
            here = self.folder / there.name
            if there.is_file() and not here.exists():
                here.write_bytes(there.read_bytes())

    def bring(self) -> None:
        """Copy what has changed since."""
        place = places.place(self.address)
        for here in self._files():
            stat = here.stat()
            state = stat.st_size, stat.st_mtime_ns
            if self._brought.get(here) != state:
                (place / here.relative_to(self.folder).as_posix()).write_bytes(here.read_bytes())
                self._brought[here] = state

    def _files(self) -> list[Path]:
        found = [path for path in self.folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
        return [path for path in found if contract.CHECKPOINTS_DIR not in path.relative_to(self.folder).parts]
