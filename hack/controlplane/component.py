"""One program of the cluster: what to run. How it is kept running is `supervisor.py`'s business."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Component:
    """A long-running program."""

    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    """Added to the supervisor's own environment."""
    is_spare: bool = False
    """Not started until somebody asks for it."""


def save(path: Path, components: list[Component]) -> None:
    """Write the list that a supervisor is started with."""
    path.write_text(json.dumps([asdict(component) for component in components], indent=1))


def load(path: Path) -> list[Component]:
    """Read the list that `save` wrote."""
    return [Component(**entry) for entry in json.loads(path.read_text())]
