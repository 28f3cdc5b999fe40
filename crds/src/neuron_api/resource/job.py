"""NeuronTrainingJob as the operator reads it: the metadata that it uses, spec, status.

An object may be of another release: `drop_parts` removes what this release's schema does not accept.
"""

import re
from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import Any, Final

from pydantic import AwareDatetime, Field, ValidationError

from .spec import JobSpec
from .status import JobStatus
from .wire_values import ApiObject

Path = tuple[str | int, ...]

_STEP: Final = re.compile(r"\[(\d+)\]|([^.\[\]]+)")


def parse_path(field: str) -> Path:
    """Return the path of a field as the API server names it: `status.restarts[2].cause`."""
    return tuple(int(index) if index else key for index, key in _STEP.findall(field))


def drop_parts(value: dict[str, Any], paths: Iterable[Sequence[str | int]]) -> dict[str, Any]:
    """Return a copy without these parts; if a part is missing, without the object that lacks it."""
    copy = deepcopy(value)
    for steps in sorted({_existing_path(value, path) for path in paths}, key=_removal_order, reverse=True):
        if steps:
            _remove(copy, steps)
    return copy


def _existing_path(value: Any, steps: Sequence[str | int]) -> Path:
    """Return the path as far as it exists."""
    for number, step in enumerate(steps):
        exists = step in value if isinstance(value, dict) else isinstance(value, list) and _is_index(value, step)
        if not exists:
            return tuple(steps[:number])
        value = value[step]
    return tuple(steps)


def _is_index(value: Sequence[Any], step: str | int) -> bool:
    return isinstance(step, int) and step < len(value)


def _removal_order(steps: Path) -> list[tuple[bool, int, str]]:
    """Return the sort key: later elements of a list come first, so that the indices of the others stay."""
    return [(isinstance(step, int), step if isinstance(step, int) else 0, str(step)) for step in steps]


def _remove(value: Any, steps: Path) -> None:
    for step in steps[:-1]:
        value = value[step]
    del value[steps[-1]]


class Metadata(ApiObject):
    """The part of ObjectMeta that the operator uses."""

    name: str
    namespace: str
    uid: str
    generation: int = 1
    resource_version: str = ""
    creation_timestamp: AwareDatetime | None = None
    deletion_timestamp: AwareDatetime | None = None
    labels: dict[str, str] = Field(default_factory=dict)


class NeuronTrainingJob(ApiObject):
    """The custom resource."""

    metadata: Metadata
    spec: JobSpec
    status: JobStatus = JobStatus()
    unread: tuple[str, ...] = Field(default=(), exclude=True)
    """Parts of the status that this release cannot read, each with the reason; they are dropped."""


def parse(body: dict[str, Any]) -> NeuronTrainingJob:
    """Parse the API server's JSON; raise `pydantic.ValidationError` if the schema of the spec was bypassed.

    A status that another release has written never raises: unreadable parts are dropped (`unread`).
    """
    unread: list[str] = []
    while True:
        try:
            job = NeuronTrainingJob.model_validate(body)
        except ValidationError as problem:
            wrong = [detail for detail in problem.errors() if detail["loc"][:1] == ("status",)]
            if not wrong:
                raise
            unread += (f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in wrong)
            body = drop_parts(body, (detail["loc"] for detail in wrong))
        else:
            return job.model_copy(update={"unread": tuple(unread)}) if unread else job
