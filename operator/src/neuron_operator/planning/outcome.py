"""What came of a plan's deletes, applies and creates."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Rejection:
    """The API server refused an object."""

    name: str
    """Kind and name."""
    message: str
    taken: bool = False
    """Because an object of that name is there, and is not the job's."""


@dataclass(frozen=True, slots=True)
class PlanOutcome:
    """All of it; empty where nothing was to be done."""

    created: Mapping[int, str] = field(default_factory=dict)
    """Index to UID of the pods that were created, or had been by an earlier pass."""
    rejections: tuple[Rejection, ...] = ()
