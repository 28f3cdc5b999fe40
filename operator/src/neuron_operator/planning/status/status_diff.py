"""Whether a status differs in more than its running numbers: those are written less often than they change.

A gang that comes up is a number too, and so are the conditions that tell of it: which pods are made and up already can
wait for a while, and so can that pod 0 answers, as long as it has no step to tell of. That something is in its way is
another phase, and that it trains as well.
"""

from typing import Any

from neuron_api.resource.reasons import ConditionType
from neuron_api.resource.status import JobStatus, Phase, ProgressStatus

_NUMBERS = (
    "step",
    "furthest_step",
    "loss",
    "tokens_per_second",
    "mfu",
    "metrics",
    "reference_time",
    "last_step_time",
    "seconds_per_step",
    "measured_steps",
    "total_step_seconds",
    "total_measured_steps",
    "estimated_completion_time",
    "time_remaining",
)
_OF_A_START = (
    ConditionType.READY,
    ConditionType.RECONCILING,
    ConditionType.STALLED,
    ConditionType.PODS_READY,
    ConditionType.PROGRESSING,
)


def is_progress_only_change(before: JobStatus, after: JobStatus) -> bool:
    """True when nothing but step, loss, throughput and their time differ (or nothing at all)."""
    return _without(before) == _without(after)


def _without(status: JobStatus) -> dict[str, Any]:
    values = status.model_dump(exclude={"ready_nodes", "goodput"})
    if status.phase is Phase.STARTING:
        values["conditions"] = [condition for condition in values["conditions"] if condition["type"] not in _OF_A_START]
    values["pods"] = [record for record in values["pods"] if record["lost"] or record["succeeded"]]
    if status.phase is Phase.STARTING and _is_before_the_first_step(status.progress):
        values["progress"] = None
    elif values["progress"] is not None:
        values["progress"] = {key: value for key, value in values["progress"].items() if key not in _NUMBERS}
    return values


def _is_before_the_first_step(progress: ProgressStatus | None) -> bool:
    return progress is None or not (progress.furthest_step or progress.last_step_time or progress.round)
