"""What was compiled for a fingerprint: a record in the compile cache, beside the compilers' own files.

`<cache>/fingerprints/<fingerprint>/record.json`, and the lock under which it is written. The graphs themselves lie
where the compilers keep them, by their content: fingerprints share what is the same in both. A record says how many
files they had, so that graphs which were removed, or not copied with the rest, are compiled anew.
"""

import logging
import os
import platform
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from neuron_api.config import TrainingConfig
from neuron_api.schema import graphs
from neuron_trainer.models.family import Family
from neuron_trainer.storage import files

log = logging.getLogger(__name__)

FOLDER: Final = "fingerprints"
RECORD: Final = "record.json"
_PACKAGES: Final = (
    "neuron-training-operator",
    "torch",
    "torch-xla",
    "torch-neuronx",
    "neuronx-cc",
    "neuronx-distributed",
    "nki",
    "triton",
)
"""Whose version changes what is compiled."""
_DEPTH: Final = 3
"""Levels of folders in which a compiler's files are counted: each graph has one of its own there."""
_PASSING: Final = (".lock", ".tmp")
"""Ends of the names of files that are not meant to stay."""
_VARIABLES: Final = ("NEURON_CC_FLAGS", "NEURON_LOGICAL_NC_CONFIG", "NEURON_PLATFORM_TARGET_OVERRIDE", "XLA_FLAGS")


class CompileRecord(BaseModel):
    """What a compile phase has left behind."""

    model_config = ConfigDict(frozen=True)

    facts: dict[str, Any]
    """What the fingerprint is of."""
    graphs: int
    """Of rank 0: compiled, and taken from the cache."""
    compiled: int
    """Of all processes, in the phase that wrote this."""
    seconds: float
    time: datetime
    complete: bool
    """False: the phase has not ended, or was interrupted."""
    files: int = 0
    """Of the compilers, in the cache when the phase ended."""
    launches: tuple[str, ...] = ()
    """The launchers whose processes took part."""


def facts(config: TrainingConfig, family: Family, accelerator: str) -> dict[str, Any]:
    """Return what the graphs of a run depend on, as JSON values."""
    values = {
        **graphs.inputs(config),
        "the model": asdict(family.config),
        "the accelerator": accelerator,
        "versions": dict(_versions()),
        "environment": {name: _flags(os.environ[name]) for name in _VARIABLES if name in os.environ},
    }
    if accelerator == "cpu":
        values["the processor"] = [platform.machine(), torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()]
    return values


def _flags(text: str) -> str:
    """Return a variable's value without what says how often something is compiled, and not to what."""
    return " ".join(word for word in text.split() if word != "--retry_failed_compilation")


def _versions() -> Mapping[str, str]:
    return {name: text for name in _PACKAGES if (text := _version(name)) is not None}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


@dataclass(frozen=True)
class CompileStore:
    """The record of one fingerprint."""

    folder: Path
    facts: Mapping[str, Any]

    @classmethod
    def create(cls, cache: Path, facts: Mapping[str, Any]) -> "CompileStore":
        """Return the store of these facts in a cache; makes its folder, raises `OSError` where it takes no file."""
        folder = cache / FOLDER / graphs.fingerprint(facts)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:  # a folder of somebody else's is there and takes nothing
            probe.write(b"0")
        return cls(folder, facts)

    def read(self) -> CompileRecord | None:
        """Return the record; None where there is none that can be read."""
        try:
            return CompileRecord.model_validate_json((self.folder / RECORD).read_bytes())
        except (OSError, ValidationError):
            return None

    @property
    def cache(self) -> Path:
        """Return the folder that the compilers keep their graphs in."""
        return self.folder.parent.parent

    def gap(self, launches: Iterable[str] = ()) -> str:
        """Return why something may be missing; empty where everything is compiled, and these launchers have seen it."""
        record = self.read()
        if record is None:
            return f"{self.cache} has no record of the fingerprint {self.folder.name}"
        if not record.complete:
            return f"the phase that {self.cache} has a record of, of {record.time:%Y-%m-%d %H:%M:%S} UTC, did not end"
        if (lost := record.files - _count(self.cache)) > 0:
            return f"{lost} of the {record.files} files that the compilers had in {self.cache} are gone"
        if set(launches) - set(record.launches):
            return "spec.compilePolicy.mode is Always, and a pod has started since the last phase"
        return ""

    def write(
        self, *, graphs: int, compiled: int, seconds: float, complete: bool, launches: Iterable[str] = ()
    ) -> None:
        """Write the record; the holder of the lock does. What is compiled serves without it, so a disk that is full by
        now, or a folder that somebody has removed, is a warning."""
        record = CompileRecord(
            facts=dict(self.facts),
            graphs=graphs,
            compiled=compiled,
            seconds=round(seconds, 1),
            time=datetime.now(UTC).replace(microsecond=0),
            complete=complete,
            files=_count(self.cache) if complete else 0,
            launches=tuple(sorted(launches)),
        )
        try:
            files.replace(self.folder / RECORD, files.json_dumps(record.model_dump(mode="json"), indent=1))
        except OSError as problem:
            log.warning("%s: what is compiled is not recorded: %s", self.folder, problem.strerror or problem)


def _count(folder: Path, depth: int = _DEPTH) -> int:
    """Return how many files and folders there are, without the records."""
    total = 0
    for entry in _entries(folder):
        if entry.name == FOLDER or entry.name.startswith(".") or entry.name.endswith(_PASSING):
            continue
        total += 1
        if depth > 1 and entry.is_dir(follow_symlinks=False):
            total += _count(Path(entry.path), depth - 1)
    return total


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []
