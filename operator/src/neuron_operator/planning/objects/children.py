"""What a job has beside its pods: its copy of the configuration, the Service of their host names, the gang's group."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from neuron_api import contract
from neuron_operator.planning.observation.observation import Child, Observed
from neuron_operator.planning.observation.waiting import Rejection
from neuron_operator.planning.validation.validation import Accepted

from . import desired, groups, naming


def applies(observed: Observed, gate: Accepted, attempt: int) -> tuple[dict[str, Any], ...]:
    """Service, ConfigMap and the gang's group, where they are not as they should be; never those of somebody else."""
    job = observed.job
    text = _own_text(observed.config_map) or gate.text
    targets = ((observed.config_map, desired.config_map(job, text)), (observed.service, desired.service(job)))
    own = tuple(
        body
        for child, body in targets
        if child is None or (child.owner_uid == job.metadata.uid and not desired.covers(child.body, body))
    )
    pod = partial(desired.pod, job, gate, attempt, 0)
    return (*own, *groups.applies(observed, attempt, gate.topology.num_nodes, pod))


def _own_text(child: Child | None) -> str:
    """A copy is immutable: an operator of another version that would write the same otherwise must not try."""
    data = child.body.get("data") if child else None
    return str(data.get(contract.CONFIG_FILE, "")) if isinstance(data, Mapping) else ""


def conflicting_names(observed: Observed) -> list[Rejection]:
    """Names that the job needs and somebody else has."""
    return [
        Rejection(what, f"{what} exists and does not belong to this job.", taken=True)
        for what, child in _foreign_children(observed)
        if not _is_leftover(observed, child)
    ]


def leftover_names(observed: Observed) -> tuple[str, ...]:
    """Return the objects of an earlier job of this name, until garbage collection has removed them."""
    return tuple(what for what, child in _foreign_children(observed) if _is_leftover(observed, child))


def _foreign_children(observed: Observed) -> list[tuple[str, Child]]:
    job = observed.job
    needed: tuple[tuple[str, Child | None], ...] = (
        (f"Service {naming.service(job)}", observed.service),
        (f"ConfigMap {naming.config_map(job)}", observed.config_map),
    )
    return [(what, child) for what, child in needed if child is not None and child.owner_uid != job.metadata.uid]


def _is_leftover(observed: Observed, child: Child) -> bool:
    """Return whether its owner is, or was, a job of this name."""
    metadata = child.body.get("metadata")
    owners = metadata.get("ownerReferences", ()) if isinstance(metadata, Mapping) else ()
    name = observed.job.metadata.name
    return any(owner.get("kind") == contract.KIND and owner.get("name") == name for owner in owners)
