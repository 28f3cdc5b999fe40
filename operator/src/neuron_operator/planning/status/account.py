"""Where the time of a job went, as `status` and `why` say it: from its status, up to now."""

from datetime import datetime
from typing import Final

from neuron_api import timeline
from neuron_api.resource.job import NeuronTrainingJob
from neuron_api.timeline import REMEDIES, Activity

from .pace import format_duration

_SHOWN: Final = 0.02
"""Least share of the time that is worth a word."""
_ADVISED: Final = 0.05
"""Least share that is worth advice."""
_YOUNG: Final = 60.0
"""Seconds: of a younger job nearly all is its start."""


def seconds_spent(job: NeuronTrainingJob, now: datetime) -> dict[str, float]:
    """Return the seconds by activity up to now, or up to the end; empty where no operator keeps an account."""
    status = job.status
    if status.time_spent is None:
        return {}
    is_up = status.topology is not None and status.ready_nodes == status.topology.nodes
    return status.time_spent.until_now(status.completion_time or now, is_up=is_up)


def account_line(job: NeuronTrainingJob, now: datetime) -> str | None:
    """Return the account in one line; None without one."""
    seconds = seconds_spent(job, now)
    shares = [f"{activity} {share:.0%}" for activity, share in timeline.shares(seconds) if share >= _SHOWN]
    if not shares:
        return None
    return f"{', '.join(shares)} of {format_duration(sum(seconds.values()))}"


def largest_loss(job: NeuronTrainingJob, now: datetime) -> tuple[str, ...]:
    """Return what most of the time went into that was no step, and how it can be had back; nothing where that is
    little."""
    spent, seconds = job.status.time_spent, seconds_spent(job, now)
    if spent is None:
        return ()
    seconds, is_part = spent.of_last_day(seconds, now)
    seconds = {name: value for name, value in seconds.items() if name != Activity.SUSPENDED}  # somebody wanted that
    whole, activity = sum(seconds.values()), timeline.largest_loss(seconds)
    if activity is None or whole < _YOUNG or seconds[activity] / whole < _ADVISED:
        return ()
    when = "the last day" if is_part else f"its {format_duration(whole)}"
    remedy = f" {REMEDIES[activity]}" if activity in REMEDIES else ""
    return (f"{seconds[activity] / whole:.0%} of {when} went into {activity}, most of what was lost.{remedy}",)
