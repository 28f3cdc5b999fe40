"""A status that the CRD of another release does not take whole: what may be missing, and what is said otherwise.

Decisions are written before they are acted on. So whatever a later pass decides by must be stored as it is; what only
people read may be left out.
"""

from datetime import datetime
from typing import Final

from neuron_api.resource.reasons import ConditionType, Reason
from neuron_api.resource.status import Condition, ConditionStatus, JobStatus

_HEADLINE: Final = (ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED)


def decisions(status: JobStatus) -> tuple[object, ...]:
    """Return what later passes decide by: equal for two statuses that lead to the same actions."""
    progress = status.progress
    return (
        status.finished and status.phase,
        status.attempt,
        status.config_hash,
        tuple((pod.name, pod.uid, pod.lost, pod.succeeded) for pod in status.pods),
        tuple(
            (
                line.restart_scope,
                line.cause,
                line.time,
                line.attempt,
                line.pod_uid,
                line.round,
                line.step,
                line.recovered_time,
            )
            for line in status.restarts
        ),
        (status.restart_count, status.gang_failures, status.steps_lost),
        tuple((failure.cause, failure.time) for failure in status.counted_failures),
        tuple(
            (exclusion.node, exclusion.hostname, exclusion.reason, exclusion.expiration_time)
            for exclusion in status.excluded_nodes
        ),
        status.checkpoint_gate and (status.checkpoint_gate.reason, status.checkpoint_gate.time),
        status.suspension and (status.suspension.request_time, status.suspension.stop_time),
        (status.start_time, status.completion_time, status.suspended_seconds),
        progress and (progress.step, progress.furthest_step, progress.pod_uid, progress.round),
        status.checkpoint and status.checkpoint.step,
    )


def explanation(before: JobStatus, message: str, generation: int, now: datetime) -> JobStatus:
    """The status that was read, with a headline that says why nothing else is written."""
    old = {condition.type: condition for condition in before.conditions}
    headline = (_headline(kind, old.get(kind), message, generation, now) for kind in _HEADLINE)
    others = (condition for condition in before.conditions if condition.type not in _HEADLINE)
    return before.model_copy(update={"conditions": (*headline, *others)})


def _headline(kind: ConditionType, before: Condition | None, message: str, generation: int, now: datetime) -> Condition:
    status = ConditionStatus.TRUE if kind is ConditionType.STALLED else ConditionStatus.FALSE
    same = before is not None and before.status is status
    return Condition(
        type=kind,
        status=status,
        reason=Reason.STATUS_REFUSED,
        message=message,
        observed_generation=generation,
        last_transition_time=before.last_transition_time if before and same else now.replace(microsecond=0),
    )
