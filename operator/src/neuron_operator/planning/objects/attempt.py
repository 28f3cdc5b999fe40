"""What a plan does to the objects of an attempt: pods that are created and deleted, and what keeps it from that."""

from dataclasses import replace
from typing import Any, Final

from neuron_api.resource.reasons import Reason
from neuron_operator.planning.context import PlanContext
from neuron_operator.planning.observation import waiting
from neuron_operator.planning.observation.observation import Pod
from neuron_operator.planning.observation.waiting import Wait
from neuron_operator.planning.plan import Create, Delete
from neuron_operator.planning.restarts import exclusion, resizing
from neuron_operator.planning.scheduling.admission import creation_blocker

from . import children, desired, priority_boost, standby

HUNG_GRACE_SECONDS: Final = 10
"""For pods of a gang that hangs, in place of the grace to save: a process inside a collective never gets to its end."""


def other_pods(context: PlanContext) -> list[Pod]:
    """Return the pods of other attempts, those beyond the gang's size, and standby pods that are no longer needed."""
    gang, holding = context.gang, standby.pods_to_keep(context)
    return [pod for pod in context.observed.pods if gang.pods.get(pod.index) is not pod and pod.uid not in holding]


def creation_wait(context: PlanContext) -> Wait | None:
    """Return why no pod may be created; pods that exist do without what is missing."""
    observed, job = context.observed, context.job
    conflict = waiting.for_rejection(children.conflicting_names(observed))
    if not context.gang.missing:
        return conflict
    leftovers = (*observed.foreign_pods, *children.leftover_names(observed))
    return (
        waiting.for_claims(job, observed.missing_claims)
        or waiting.for_earlier_job(job, leftovers)
        or creation_blocker(observed, context.options)
        or conflict
    )


def start_wait(context: PlanContext) -> Wait | None:
    """Return why the pods that exist are not all up."""
    pods, admission = context.gang.pods.values(), context.admission
    return (
        waiting.for_nodes(pods, context.observed.nodes)
        or (admission.wait if admission else None)
        or _with_outlook(waiting.for_pods(context.job, pods), context)
    )


def _with_outlook(wait: Wait | None, context: PlanContext) -> Wait | None:
    """Return the wait for nodes with what an elastic job does about it."""
    if wait is None or wait.reason is not Reason.PODS_PENDING:
        return wait
    return replace(wait, message=f"{wait.message}{resizing.shrink_outlook(context)}")


def creates(context: PlanContext) -> tuple[Create, ...]:
    """Return the pods that are missing."""
    job, attempt, avoid = context.job, context.gang.attempt, exclusion.hostnames(context.status)
    return tuple(
        Create(index, desired.pod(job, context.accepted, attempt, index, avoid)) for index in context.gang.missing
    )


def applies(context: PlanContext) -> tuple[dict[str, Any], ...]:
    """Return Service, ConfigMap and the gang's group, where they are not as they should be."""
    return children.applies(context.observed, context.accepted, context.gang.attempt)


def annotations(context: PlanContext) -> tuple[dict[str, Any], ...]:
    """Return what is merged into the objects of others: the boost of the gang's priority."""
    boost = priority_boost.annotate(context)
    return (boost,) if boost else ()


def seconds_until_due(context: PlanContext) -> float | None:
    """Return the seconds until the clock alone changes what this attempt needs; None: it does not."""
    return priority_boost.seconds_until_due(context)


def deletes(context: PlanContext) -> tuple[Delete, ...]:
    """Return pods and groups of other attempts, and lost pods, so that their names become free."""
    observed, gang = context.observed, context.gang
    lost = [
        pod
        for index, pod in gang.pods.items()
        if (record := gang.records.get(index)) and record.lost and record.uid == pod.uid
    ]
    pods = (*other_pods(context), *lost)
    hung = {entry.attempt for entry in context.job.status.restarts if entry.cause is Reason.HANG}
    going = (_delete(pod, observed.lost_nodes, is_hung=pod.attempt in hung) for pod in pods)
    return (*filter(None, going), *children.group_deletes(observed, keep=gang.attempt))


def standby_deletes(context: PlanContext) -> tuple[Delete, ...]:
    """Return the standby pods: those of a job whose configuration is refused hold nodes for nothing."""
    standbys = [pod for pod in context.observed.pods if pod.is_standby]
    return tuple(filter(None, (_delete(pod, context.observed.lost_nodes) for pod in standbys)))


def stop_deletes(context: PlanContext) -> tuple[Delete, ...]:
    """Return what goes of a job that is suspended or held: its running pods first, then its groups."""
    if not context.active_pods:
        return children.group_deletes(context.observed)
    going = (_delete(pod, context.observed.lost_nodes) for pod in context.active_pods)
    return tuple(filter(None, going))


def _delete(pod: Pod, lost_nodes: frozenset[str], *, is_hung: bool = False) -> Delete | None:
    force = pod.node in lost_nodes
    if pod.terminating and not force:
        return None
    grace = HUNG_GRACE_SECONDS if is_hung and not force else None
    return Delete(pod.name, pod.uid, force=force, grace_seconds=grace)
