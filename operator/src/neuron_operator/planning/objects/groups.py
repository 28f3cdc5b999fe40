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
    mechanism = registry.adapter_for(observed.job)
    wanted = _wanted(observed, mechanism, attempt, count, pod()) if mechanism else None
    if wanted is None:
        return ()
    there = next((one for one in _groups(observed) if one.name == wanted["metadata"]["name"]), None)
    if there is not None and covers(there.body, wanted):
        return ()
    return (wanted,)


def deletes(observed: Observed, keep: int | None = None) -> tuple[Delete, ...]:
    """Groups of the job's but that of the attempt to keep: they may hold room in a queue."""
    mechanism = registry.adapter_for(observed.job)
    if mechanism is None or not mechanism.kind.own:
        return ()
    kept = None if keep is None else group_name(observed.job, keep)
    return tuple(
        Delete(one.name, one.uid, kind=mechanism.kind.kind, api_version=mechanism.kind.api_versions[0])
        for one in _groups(observed)
        if one.name != kept and one.owner_uid == observed.job.metadata.uid and not one.terminating
    )


def _wanted(
    observed: Observed, mechanism: GangSchedulerAdapter, attempt: int, count: int, pod: Mapping[str, Any]
) -> Json | None:
    spec = mechanism.group(GangRequest(observed.job, attempt, count), pod)
    if spec is None:
        return None
    return {
        "apiVersion": mechanism.kind.api_versions[0],
        "kind": mechanism.kind.kind,
        "metadata": owned(observed.job, group_name(observed.job, attempt)),
        "spec": spec,
    }


def _groups(observed: Observed) -> tuple[Child, ...]:
    return observed.scheduler.groups if observed.scheduler else ()
