"""What a change of the file recompiles: its graphs against those of an earlier file, or of what was compiled."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from neuron_api.config import TrainingConfig
from neuron_api.schema import graphs
from neuron_operator.kube.errors import UserInputError

from . import documents

_FACTS: Final = "facts"
"""Of a record in a compile cache (`neuron_trainer.compile_phase.record`)."""


@dataclass(frozen=True, slots=True)
class Recompilation:
    """What differs of what the graphs depend on."""

    previous: str
    """The file that is compared with."""
    changes: tuple[str, ...]

    def __str__(self) -> str:
        if not self.changes:
            return f"no: nothing that graphs depend on differs from {self.previous}"
        return f"yes, against {self.previous}: {'; '.join(self.changes)}"


def previous_inputs(path: str) -> Mapping[str, Any]:
    """Return what the graphs of an earlier file depend on, or of `record.json` of a compile cache; raises
    `UserInputError`."""
    if (recorded := _recorded(path)) is not None:
        return recorded
    sources = list(documents.from_files([path]))
    if len(sources) != 1:
        raise UserInputError(f"--previous {path} has {len(sources)} configurations: give a file with one.")
    loaded = sources[0].load(())  # overrides are of the change
    if loaded.config is None:
        raise UserInputError(f"--previous {path}: {loaded.findings[0] if loaded.findings else 'it is empty'}")
    return graphs.inputs(loaded.config)


def compare(path: str, previous: Mapping[str, Any], config: TrainingConfig) -> Recompilation:
    """Return what is recompiled, and why."""
    return Recompilation(path, tuple(map(str, graphs.changes(previous, graphs.inputs(config)))))


def _recorded(path: str) -> Mapping[str, Any] | None:
    try:
        content = json.loads(Path(path).read_text())
    except (OSError, ValueError, RecursionError):
        return None
    facts = content.get(_FACTS) if isinstance(content, dict) else None
    return facts if isinstance(facts, dict) else None
