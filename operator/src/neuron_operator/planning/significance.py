"""Whether a status differs in more than its running numbers: those are written less often than they change.

A gang that comes up is a number too: which pods are made and up already is of use once all are, or after a while.
"""

from typing import Any

from neuron_api.status import JobStatus

_NUMBERS = ("step", "loss", "tokens_per_second", "last_step_time", "seconds_per_step", "measured_steps")


def only_numbers(before: JobStatus, after: JobStatus) -> bool:
    """True when nothing but step, loss, throughput and their time differ (or nothing at all)."""
    return _without(before) == _without(after)


def _without(status: JobStatus) -> dict[str, Any]:
    values = status.model_dump(exclude={"nodes_ready"})
    values["pods"] = [record for record in values["pods"] if record["lost"] or record["succeeded"]]
    if values["progress"] is not None:
        values["progress"] = {key: value for key, value in values["progress"].items() if key not in _NUMBERS}
    return values
