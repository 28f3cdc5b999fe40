"""The object that stands for the gang of an attempt: applied before its pods, gone with the attempt or the job."""

from collections.abc import Callable, Mapping
from typing import Any

from neuron_operator.planning.objects.desired import covers, owned
from neuron_operator.planning.observation.observation import Child, Observed
from neuron_operator.planning.plan import Delete
from neuron_operator.planning.scheduling import registry
from neuron_operator.planning.scheduling.adapter import GangRequest, GangSchedulerAdapter, Json, group_name


def applies(observed: Observed, attempt: int, count: int, pod: Callable[[], Mapping[str, Any]]) -> tuple[Json, ...]:
    """The group of the attempt, where it is not as it should be. `pod` makes one of its pods."""
    adapter = registry.adapter_for(observed.job)
    desired = _desired(observed, adapter, attempt, count, pod()) if adapter else None
    if desired is None:
        return ()
    existing = next((group for group in _groups(observed) if group.name == desired["metadata"]["name"]), None)
    if existing is not None and covers(existing.body, desired):
        return ()
    return (desired,)


def deletes(observed: Observed, keep: int | None = None) -> tuple[Delete, ...]:
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


def _desired(
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
