"""What a job has beside its pods: its copy of the configuration, the Service of their host names, the gang's group.

The group is the object that stands for the gang of an attempt: applied before its pods, gone with the attempt or the
job.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from neuron_api import contract
from neuron_operator.planning.objects.desired import covers, owned
from neuron_operator.planning.observation.observation import Child, Observed
from neuron_operator.planning.observation.waiting import Rejection
from neuron_operator.planning.plan import Delete
from neuron_operator.planning.scheduling import registry
from neuron_operator.planning.scheduling.adapter import GangRequest, GangSchedulerAdapter, Json, group_name
from neuron_operator.planning.validation.validation import Accepted

from . import desired, naming


def group_applies(
    observed: Observed, attempt: int, count: int, pod: Callable[[], Mapping[str, Any]]
) -> tuple[Json, ...]:
    """The group of the attempt, where it is not as it should be. `pod` makes one of its pods."""
    adapter = registry.adapter_for(observed.job)
    desired = _desired_group(observed, adapter, attempt, count, pod()) if adapter else None
    if desired is None:
        return ()
    existing = next((group for group in _groups(observed) if group.name == desired["metadata"]["name"]), None)
    if existing is not None and covers(existing.body, desired):
        return ()
    return (desired,)


def group_deletes(observed: Observed, keep: int | None = None) -> tuple[Delete, ...]:
    """Groups of the job's but that of the attempt to keep: they may hold room in a queue."""
    adapter = registry.adapter_for(observed.job)
    if adapter is None or not adapter.kind.own:
        return ()
    kept_name = None if keep is None else group_name(observed.job, keep)
    return tuple(
        Delete(group.name, group.uid, kind=adapter.kind.kind, api_version=adapter.kind.api_versions[0])
        for group in _groups(observed)
        if group.name != kept_name and group.owner_uid == observed.job.metadata.uid and not group.terminating
    )


def _desired_group(
    observed: Observed, adapter: GangSchedulerAdapter, attempt: int, count: int, pod: Mapping[str, Any]
) -> Json | None:
    spec = adapter.group(GangRequest(observed.job, attempt, count), pod)
    if spec is None:
        return None
    return {
        "apiVersion": adapter.kind.api_versions[0],
        "kind": adapter.kind.kind,
        "metadata": owned(observed.job, group_name(observed.job, attempt)),
        "spec": spec,
    }


def _groups(observed: Observed) -> tuple[Child, ...]:
    return observed.scheduler.groups if observed.scheduler else ()


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
    return (*own, *group_applies(observed, attempt, gate.topology.num_nodes, pod))


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
