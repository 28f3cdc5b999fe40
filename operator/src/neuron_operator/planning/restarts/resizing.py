"""When the number of nodes of a job changes (spec.elasticPolicy), and to which.

    the spec asks for fewer          at once: the pods save and end
    a pod finds no node              after shrinkAfterSeconds: with the next smaller legal number
    there is room for more           standby pods have nodes: after the next checkpoint, or at once (growAt)

Whether there is room only the scheduler knows. So the job asks it with standby pods (`objects.standby`), which have the
requests of the pods to come and hold their nodes until the change. Where they hold nodes that are not enough for a
legal number, or fail, they are given up for growAfterSeconds or longer: two jobs must not hold what both need.

As everywhere in the planner, a decision is only written down here: a new attempt with another number of nodes, which no
budget counts.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from zlib import crc32

from neuron_api.resource.elastic import ElasticPolicy, ElasticStatus, GrowthPoint
from neuron_api.resource.reasons import Reason
from neuron_api.resource.status import Restart, RestartScope
from neuron_operator.planning.context import PlanContext
from neuron_operator.planning.observation.observation import Pod

from . import checkpoint_gate, ledger
from .ladder import RestartDecision


def decide(context: PlanContext) -> RestartDecision | None:
    """Decide about the number of nodes; None: it stays."""
    elastic, status = context.status.elastic, context.status
    if elastic is None or status.start_time is None or status.suspension or status.checkpoint_gate:
        return None
    if any(record.succeeded for record in context.gang.records.values()):
        return None  # training has ended, and the other pods follow
    if not _can_resume(context):
        return None  # each change would begin again at step 0
    if is_asked_to_change(context, elastic):
        cause = f"the spec asks for {elastic.desired_nodes}"
        return _change(context, elastic, elastic.desired_nodes, cause)
    if (policy := context.job.spec.elastic_policy) is None:
        return None
    if (decision := _shrink(context, elastic, policy)) or not _may_grow(context, elastic):
        return decision
    return _grow(context, elastic, policy) or _give_up(context, elastic, policy)


def is_asked_to_change(context: PlanContext, elastic: ElasticStatus) -> bool:
    """Return whether the spec asks for fewer nodes, or without a policy for others than there are.

    More nodes are only taken when there is room for them, also where a new bound no longer permits those there are.
    """
    has_policy = context.job.spec.elastic_policy is not None
    return elastic.desired_nodes < elastic.nodes or (not has_policy and elastic.desired_nodes != elastic.nodes)


def _can_resume(context: PlanContext) -> bool:
    return checkpoint_gate.can_resume(context.status, context.accepted.config, context.job.spec.restart_policy)


def standby_count(context: PlanContext) -> int:
    """Return how many standby pods there should be: as many as the spec asks for beyond what trains."""
    elastic, status, gang = context.status.elastic, context.status, context.gang
    if elastic is None or context.job.spec.elastic_policy is None or not context.is_stepping:
        return 0
    if status.suspension or status.checkpoint_gate or is_asked_to_change(context, elastic) or not _can_resume(context):
        return 0
    is_complete = len(gang.pods) == gang.size and all(_is_placed(pod) for pod in gang.pods.values())
    return elastic.desired_nodes - elastic.nodes if is_complete and _may_grow(context, elastic) else 0


def _may_grow(context: PlanContext, elastic: ElasticStatus) -> bool:
    return elastic.next_growth_time is None or elastic.next_growth_time <= context.now


def seconds_until_due(context: PlanContext) -> float | None:
    """Return the seconds until the clock alone changes something; None: it does not."""
    elastic, policy = context.status.elastic, context.job.spec.elastic_policy
    if elastic is None or policy is None:
        return None
    moments = [moment for moment in _bounds(context, policy) if moment > context.now]
    if elastic.next_growth_time and not _may_grow(context, elastic) and elastic.nodes < elastic.desired_nodes:
        moments.append(elastic.next_growth_time)
    return min(((moment - context.now).total_seconds() for moment in moments), default=None)


def _bounds(context: PlanContext, policy: ElasticPolicy) -> Iterable[datetime]:
    yield from (_shrink_time(pod, policy) for pod in _unplaced(context))
    yield from (_surrender_time(pod, policy) for pod in _placed_standbys(context))


# ---- fewer nodes -----------------------------------------------------------------------------------------------------


def _shrink(context: PlanContext, elastic: ElasticStatus, policy: ElasticPolicy) -> RestartDecision | None:
    """Decide by the pods without a node: to the largest legal number that has nodes already, else to the next smaller
    one."""
    due = [pod for pod in _unplaced(context) if _shrink_time(pod, policy) <= context.now]
    target = _smaller(context, elastic)
    if not due or target is None:
        return None
    cause = (
        f"pod {due[0].name} has had no node for {policy.shrink_after_seconds} s (elasticPolicy.shrinkAfterSeconds): "
        f"{due[0].unschedulable.rstrip('.')}"
    )
    return _change(context, elastic, target, cause)


def _smaller(context: PlanContext, elastic: ElasticStatus) -> int | None:
    """Return the number of nodes that a shrink leads to; None: there are as few as may be."""
    smaller = context.accepted.node_plan.below(elastic.nodes)
    placed = sum(_is_placed(pod) for pod in context.gang.pods.values())
    return max((count for count in smaller if count <= placed), default=smaller[-1] if smaller else None)


def shrink_outlook(context: PlanContext) -> str:
    """Return the sentence about pods without a node that says when the job goes on without them; else nothing."""
    elastic, policy = context.status.elastic, context.job.spec.elastic_policy
    moments = [_shrink_time(pod, policy) for pod in _unplaced(context)] if policy else []
    target = _smaller(context, elastic) if elastic else None
    if not moments or target is None or not _can_resume(context):
        return ""
    return f" From {min(moments):%H:%M:%S} UTC on the job goes on with {target} nodes (spec.elasticPolicy)."


def _unplaced(context: PlanContext) -> list[Pod]:
    """Return the pods of which the scheduler says that there is no node for them."""
    return [
        pod
        for pod in context.gang.pods.values()
        if pod.unschedulable and not pod.node and not pod.over and not pod.terminating and pod.created_at
    ]


def _shrink_time(pod: Pod, policy: ElasticPolicy) -> datetime:
    assert pod.created_at is not None
    return pod.created_at + timedelta(seconds=policy.shrink_after_seconds)


# ---- more nodes ------------------------------------------------------------------------------------------------------


def _grow(context: PlanContext, elastic: ElasticStatus, policy: ElasticPolicy) -> RestartDecision | None:
    """Decide by the standby pods, while the job trains: a growth must not be mixed with a recovery."""
    standbys = _running_standbys(context)
    target = _reachable(context, elastic, standbys)
    if target <= elastic.nodes or ledger.last_open(context.status) or context.gang.ready < context.gang.size:
        return None
    if policy.grow_at is GrowthPoint.CHECKPOINT and not _is_saved_since(context, standbys):
        return None
    return _change(context, elastic, target, f"there are nodes for {target - elastic.nodes} more pods")


def _give_up(context: PlanContext, elastic: ElasticStatus, policy: ElasticPolicy) -> RestartDecision | None:
    """Let go of nodes that are not enough, and of standby pods that fail, for a while: of two jobs that hold what both
    need, one longer than the other."""
    is_short = _reachable(context, elastic, _running_standbys(context)) <= elastic.nodes
    held_long = is_short and any(_surrender_time(pod, policy) <= context.now for pod in _placed_standbys(context))
    if not held_long and not any(pod.over for pod in _standbys(context)):
        return None
    share = crc32(context.job.metadata.uid.encode()) / 2**32
    later = context.now + timedelta(seconds=round(policy.grow_after_seconds * (1 + share)))
    waiting = elastic.model_copy(update={"next_growth_time": later})
    return RestartDecision(context.status.model_copy(update={"elastic": waiting}))


def _reachable(context: PlanContext, elastic: ElasticStatus, standbys: list[Pod]) -> int:
    most = min(elastic.desired_nodes, elastic.nodes + len(standbys))
    return context.accepted.node_plan.up_to(most) or elastic.nodes


def _is_saved_since(context: PlanContext, standbys: list[Pod]) -> bool:
    """The API server's times are whole seconds: what was saved within the second of a placement was saved before it."""
    saved, second = context.status.checkpoint, timedelta(seconds=1)
    return saved is not None and all(pod.scheduled_at and saved.time >= pod.scheduled_at + second for pod in standbys)


def _standbys(context: PlanContext) -> list[Pod]:
    attempt = context.gang.attempt
    return [pod for pod in context.observed.pods if pod.is_standby and pod.attempt == attempt and not pod.terminating]


def _placed_standbys(context: PlanContext) -> list[Pod]:
    return [pod for pod in _standbys(context) if _is_placed(pod)]


def _running_standbys(context: PlanContext) -> list[Pod]:
    """Return those whose node answers, and starts the trainer's image: only these are room."""
    return [pod for pod in _placed_standbys(context) if pod.running]


def _surrender_time(pod: Pod, policy: ElasticPolicy) -> datetime:
    since = pod.scheduled_at or pod.created_at
    assert since is not None
    return since + timedelta(seconds=policy.grow_after_seconds)


def _is_placed(pod: Pod) -> bool:
    return bool(pod.node) and not pod.over and not pod.terminating


# ---- the change ------------------------------------------------------------------------------------------------------


def _change(context: PlanContext, elastic: ElasticStatus, nodes: int, cause: str) -> RestartDecision:
    """Return the new attempt with its line in the ledger."""
    status, policy = context.status, context.job.spec.elastic_policy or ElasticPolicy()
    line = Restart(
        restart_scope=RestartScope.GANG,
        cause=Reason.SCALED_DOWN if nodes < elastic.nodes else Reason.SCALED_UP,
        time=context.now,
        attempt=status.attempt,
        message=ledger.clip(f"from {elastic.nodes} to {nodes} nodes, since {cause}."),
        step=ledger.last_step(status),
    )
    changed = elastic.model_copy(
        update={
            "nodes": nodes,
            "last_change_time": context.now,
            "next_growth_time": context.now + timedelta(seconds=policy.grow_after_seconds),
        }
    )
    update = {"elastic": changed, "attempt": status.attempt + 1, "pods": ()}
    return RestartDecision(ledger.append(status, line).model_copy(update=update))
