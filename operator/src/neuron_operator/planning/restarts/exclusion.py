"""Nodes that new pods of a job avoid: which, how long, how many. The node itself is left alone (no cordon, no taint).

Learned from new lines of the ledger, saved in the same write: a failure excludes once. Two grounds: the failure table
says that the hardware is at fault; or failures are blamed on a node again and again. Whoever only lost its connection,
or waits in a collective, is never blamed. A third, where `nodePolicy.avoidStragglers` asks for it: a process on the
node is found to be slow. Only the first is proof; the others give way where pods find no place.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final

from neuron_api.resource.reasons import Reason
from neuron_api.resource.spec import NodePolicy
from neuron_api.resource.status import ExcludedNode, JobStatus, OpenReason, Restart, RestartScope
from neuron_operator.planning.failures.blame import lost_connection
from neuron_operator.planning.failures.failure_table import FailureTable
from neuron_operator.planning.failures.gang import Gang
from neuron_operator.planning.failures.incident import incidents
from neuron_operator.planning.observation.observation import Node, Pod
from neuron_operator.planning.status import stragglers

UNPLACED_SECONDS: Final = 60.0
"""Pods without a node for so long, because of node affinity, end exclusions that no proof of a fault is behind."""
_LIMIT: Final = 512
_WEAK: Final = (Reason.STRAGGLER, Reason.REPEATED_FAILURES)
"""Reasons that prove no fault, the weakest first."""
_BLAMED: Final = (Reason.PROCESS_FAILED, Reason.PROCESS_KILLED, Reason.POD_FAILED)
"""Not what is out of memory: that is the container's limit. Not a hang: nobody is blamed."""


def update(
    before: JobStatus,
    after: JobStatus,
    table: FailureTable,
    nodes: Mapping[str, Node],
    policy: NodePolicy,
    size: int,
    now: datetime,
) -> JobStatus:
    """`after`, without exclusions that are over and with those that its new lines and stragglers call for."""
    old_lines = {_identity(entry) for entry in before.restarts}
    status = after.model_copy(update={"excluded_nodes": _unexpired(after, nodes, policy, now)})
    if not policy.exclude_faulty_nodes:
        return status
    for entry in after.restarts:
        if _identity(entry) not in old_lines and entry.node and (ground := _ground(entry, status, table, policy, now)):
            status = _with_exclusion(status, entry.node, *ground, nodes, policy, size, now)
    for straggler in stragglers.new(before, after) if policy.avoid_stragglers else ():
        if straggler.node:
            ground = Reason.STRAGGLER, stragglers.sentence(straggler)
            status = _with_exclusion(status, straggler.node, *ground, nodes, policy, size, now)
    return status


def has_room(status: JobStatus, node: str, policy: NodePolicy, size: int) -> bool:
    """Return whether a node whose hardware is at fault is or can be avoided."""
    if not policy.exclude_faulty_nodes or not node:
        return False
    proven = [exclusion for exclusion in status.excluded_nodes if exclusion.reason is Reason.HARDWARE_FAULT]
    return node in {exclusion.node for exclusion in proven} or len(proven) < _max_excluded(policy, size)


def hostnames(status: JobStatus) -> tuple[str, ...]:
    """Return the host names that new pods avoid."""
    return tuple(sorted({exclusion.hostname for exclusion in status.excluded_nodes}))


def seconds_until_next(status: JobStatus, gang: Gang, now: datetime) -> float | None:
    """Return the seconds until an exclusion ends, or pods have waited long enough for a node; None: neither."""
    ends = [(exclusion.expiration_time - now).total_seconds() for exclusion in status.excluded_nodes]
    waits = [
        UNPLACED_SECONDS - (now - pod.created_at).total_seconds()
        for pod in _unplaced(gang)
        if pod.created_at and any(exclusion.reason in _WEAK for exclusion in status.excluded_nodes)
    ]
    return min((seconds for seconds in (*ends, *waits) if seconds > 0), default=None)


def mark_stale_pods(status: JobStatus, gang: Gang, now: datetime) -> JobStatus | None:
    """Pods that wait for a node and avoid others than they should must be recreated; None: there are none.

    An affinity cannot be changed in a pod. Where an exclusion without proof keeps pods from their place, they come
    first: those exclusions end.
    """
    waiting = _unplaced(gang)
    if any(_is_hindered(pod, now) for pod in waiting):
        remaining = tuple(exclusion for exclusion in status.excluded_nodes if exclusion.reason not in _WEAK)
        status = status.model_copy(update={"excluded_nodes": remaining})
    hosts = frozenset(hostnames(status))
    stale = {pod.index for pod in waiting if pod.avoids != hosts}
    if not stale:
        return None
    records = tuple(
        record.model_copy(update={"lost": True, "ready": False}) if index in stale else record
        for index, record in sorted(gang.records.items())
    )
    return status.model_copy(update={"pods": records})


def _unplaced(gang: Gang) -> list[Pod]:
    return [
        pod
        for index, pod in gang.pods.items()
        if not pod.node and not pod.over and not pod.terminating and not gang.records[index].lost
    ]


def _is_hindered(pod: Pod, now: datetime) -> bool:
    waited = pod.created_at is not None and (now - pod.created_at).total_seconds() >= UNPLACED_SECONDS
    return waited and bool(pod.avoids) and "affinity" in pod.unschedulable


def _unexpired(
    status: JobStatus, nodes: Mapping[str, Node], policy: NodePolicy, now: datetime
) -> tuple[ExcludedNode, ...]:
    """Return exclusions that last, with host names as the nodes have them: a report excludes before the node is
    read."""
    if not policy.exclude_faulty_nodes:
        return ()
    return tuple(
        exclusion.model_copy(update={"hostname": nodes[exclusion.node].hostname})
        if exclusion.node in nodes
        else exclusion
        for exclusion in status.excluded_nodes
        if exclusion.expiration_time > now
    )


def _ground(
    entry: Restart, status: JobStatus, table: FailureTable, policy: NodePolicy, now: datetime
) -> tuple[Reason, str] | None:
    rule = table.entry(entry.rule) if entry.rule else None
    if rule is not None:
        code = f", Neuron code {entry.neuron_code}" if entry.neuron_code is not None else ""
        detail = f": {entry.message}" if entry.message else ""
        message = f"{entry.rule} in pod {entry.pod}{code}{detail}"
        return (Reason.HARDWARE_FAULT, message) if rule.exclude else None
    if not policy.repeat_failures or not _is_blamed(entry):
        return None
    since = now - timedelta(seconds=policy.repeat_window_seconds)
    alike = [line for line in status.restarts if line.node == entry.node and line.time > since and _is_blamed(line)]
    count = sum(line.restart_scope is RestartScope.PROCESS for line in alike) + len(
        incidents(sorted(alike, key=lambda line: line.time))
    )
    if count < policy.repeat_failures:
        return None
    message = (
        f"{count} failures were blamed on it within {policy.repeat_window_seconds} s "
        f"(nodePolicy.repeatWindowSeconds); the last: {entry.message or entry.cause}"
    )
    return Reason.REPEATED_FAILURES, message


def _is_blamed(entry: Restart) -> bool:
    return entry.cause in _BLAMED and not entry.rule and not lost_connection(entry.message)


def _with_exclusion(
    status: JobStatus,
    node: str,
    reason: Reason,
    message: str,
    nodes: Mapping[str, Node],
    policy: NodePolicy,
    size: int,
    now: datetime,
) -> JobStatus:
    others = [exclusion for exclusion in status.excluded_nodes if exclusion.node != node]
    if len(others) >= _max_excluded(policy, size):
        weaker = next((other for weak in _WEAK for other in others if other.reason is weak), None)
        if weaker is None or _strength(reason) <= _strength(weaker.reason):
            return status
        others.remove(weaker)
    current = next((exclusion for exclusion in status.excluded_nodes if exclusion.node == node), None)
    if current is not None and _strength(current.reason) > _strength(reason):
        return status
    body = nodes.get(node)
    exclusion = ExcludedNode(
        node=node,
        hostname=body.hostname if body else current.hostname if current else node,
        reason=reason,
        message=message[:1024],
        exclusion_time=now,
        expiration_time=now + timedelta(seconds=policy.exclusion_seconds),
    )
    return status.model_copy(update={"excluded_nodes": (*others, exclusion)})


def _strength(reason: OpenReason) -> int:
    return _WEAK.index(reason) if reason in _WEAK else len(_WEAK)


def _max_excluded(policy: NodePolicy, size: int) -> int:
    return min(_LIMIT, max(1, size * policy.max_excluded_percent // 100))


def _identity(entry: Restart) -> Iterator[object] | tuple[object, ...]:
    return entry.restart_scope, entry.attempt, entry.pod_uid, entry.round, entry.time, entry.rule
