"""What a pass is to do: the planner's output, carried out by `controller`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from neuron_api.resource.status import JobStatus

from .observation.waiting import Rejection
from .status.conditions import Facts


@dataclass(frozen=True, slots=True)
class Delete:
    """An object to delete, if it still is the one that was seen."""

    name: str
    uid: str
    force: bool = False
    """Without waiting for the kubelet: its node is gone."""
    grace_seconds: int | None = None
    """In place of the object's own, where it is given."""
    kind: str = "Pod"
    api_version: str = ""
    """Where the kind alone does not tell which API it is of."""

    @property
    def grace(self) -> int | None:
        """Seconds of grace; None: the object's own."""
        return 0 if self.force else self.grace_seconds


@dataclass(frozen=True, slots=True)
class Create:
    """A pod to create."""

    index: int
    body: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name of the pod."""
        return str(self.body["metadata"]["name"])


@dataclass(frozen=True, slots=True)
class Release:
    """A pod whose finalizers are taken down to these, if it still is as it was seen."""

    name: str
    uid: str
    finalizers: tuple[str, ...]
    resource_version: str
    annotations: Mapping[str, str]
    """Set in the same write."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Carried out in the order of the fields; the status is written once, after them."""

    draft: JobStatus
    """The status so far; `outcome.finalize_status` adds phase and conditions once it is known what came of the rest."""
    facts: Facts
    """What phase and conditions are made from."""
    is_final: bool = False
    """The draft is the status, as it is: nothing about this job is to be recorded any more."""
    deletes: tuple[Delete, ...] = ()
    releases: tuple[Release, ...] = ()
    applies: tuple[Mapping[str, Any], ...] = ()
    """ConfigMap, Service and the gang's group, by server-side apply."""
    annotations: tuple[Mapping[str, Any], ...] = ()
    """Merged into objects of others, if they still are those that were seen."""
    creates: tuple[Create, ...] = ()
    standbys: tuple[Create, ...] = ()
    """Pods that only hold nodes; the status has no record of them."""
    requeue_after: float | None = None
    """Seconds until the next look, if nothing happens before; None: events suffice."""


@dataclass(frozen=True, slots=True)
class PlanOutcome:
    """All of it; empty where nothing was to be done."""

    created: Mapping[int, str] = field(default_factory=dict)
    """Index to UID of the pods that were created, or had been by an earlier pass."""
    rejections: tuple[Rejection, ...] = ()
