"""`make bench-recovery`: from a fault to the next step, per cause, and where the time goes.

detect      until the launcher (a process) or the kubelet (a pod) says that it has ended; a pod that is asked to go
            saves first
decide      until the processes are stopped and the agents begin to meet, or the new pod exists
schedule    until the new pod has a node
start       until its container runs, and its program has joined the others
rendezvous  the agents, then the process groups
load        checkpoint found and verified, processes forked, model, optimizer, checkpoint and position in the data
first step
"""

import json
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from . import faults
from .cluster_fixture import Ground
from .faults import Harm
from .job import EVERY, TrialJob
from .timeline import Timeline

PHASES: Final = ("detect", "decide", "schedule", "start", "rendezvous", "load", "first step")
_LOAD: Final = ("checkpoint_find", "worker_start", "model_build", "data_seek", "checkpoint_load", "first_batch")
STEPS: Final = 4000
"""More than any series of tries reaches; the job is deleted then."""


@dataclass(frozen=True, slots=True)
class Cause:
    """What is done, and what is to be reached."""

    name: str
    harm: Harm
    pod: int | None = None
    """Index of the pod that is replaced; None: processes only."""
    target: float | None = None
    """Seconds that the issue asks for."""


CAUSES: Final = (
    Cause("rank killed", faults.kill_rank, target=3.0),
    Cause("pod deleted", faults.delete_pod, pod=1, target=15.0),
    Cause("pod 0 deleted", lambda job: faults.delete_pod(job, 0), pod=0, target=15.0),
    Cause("agent killed", faults.kill_launcher, pod=1),
)


@dataclass(frozen=True, slots=True)
class Series:
    """All tries of one cause: seconds of each phase, in the order of `PHASES`."""

    cause: Cause
    tries: tuple[dict[str, float], ...]

    def totals(self) -> list[float]:
        """Seconds of each try."""
        return [sum(one.values()) for one in self.tries]

    def median(self, phase: str) -> float:
        """Of one phase."""
        return statistics.median(one[phase] for one in self.tries)


def measure(ground: Ground, cause: Cause, tries: int, say: Callable[[str], None] = print) -> Series:
    """One job, the same fault again and again, each a few steps after the last recovery."""
    found = []
    # With one node, exclusion of a node that "fails" again and again would be measured, or the end of a budget.
    policy = {
        "nodePolicy": {"excludeFaultyNodes": False},
        "restartPolicy": {"maxProcessRestarts": 1000, "maxGangRestarts": 1000, "rejoinTimeoutSeconds": 300},
    }
    with TrialJob(ground, "recovery", steps=STEPS, **policy) as job, Timeline(job) as timeline:
        for number in range(tries):
            job.wait_step(job.last_step() + EVERY + 1 + number % EVERY)
            found.append(_one(job, timeline, cause))
            say(f"  {cause.name} {number + 1}/{tries}: " + _words(found[-1]))
    return Series(cause, tuple(found))


def _one(job: TrialJob, timeline: Timeline, cause: Cause) -> dict[str, float]:
    lines = len(job.restarts())
    old = job.pods()[cause.pod].uid if cause.pod is not None else ""
    at = cause.harm(job)
    line = job.wait_recovered(lines + 1)[-1]
    stepped = at + faults.seconds_since(at, line["recoveredTime"])
    laps: dict[str, float] = json.loads((job.log_dir / "recovery.json").read_text())
    met = stepped - sum(laps[name] for name in (*_LOAD, "groups", "first_step") if name in laps)
    seconds = {
        "rendezvous": laps["groups"],
        "load": sum(laps.get(name, 0.0) for name in _LOAD),
        "first step": laps["first_step"],
    }
    if cause.pod is None:
        noted, began = at + faults.seconds_since(at, line["time"]), met - laps.get("rendezvous", 0.0)
        moments = {"detect": noted - at, "decide": began - noted, "schedule": 0.0, "start": 0.0}
        seconds["rendezvous"] += laps.get("rendezvous", 0.0)
    else:
        new = next(pod.uid for pod in job.pods() if pod.index == cause.pod)
        before, after = timeline.of(old), timeline.of(new)
        moments = {
            "detect": before["ended"] - at,
            "decide": after["created"] - before["ended"],
            "schedule": after["scheduled"] - after["created"],
            "start": met - after["scheduled"],
        }
    return {phase: {**moments, **seconds}[phase] for phase in PHASES}


def table(series: Sequence[Series]) -> list[str]:
    """In Markdown: totals, then the median of each phase with its share."""
    head = "| fault | tries | p50 | p99 | target | " + " | ".join(PHASES) + " |"
    return [head, "|---|" + "---|" * (4 + len(PHASES)), *map(_row, series)]


def _row(one: Series) -> str:
    totals = sorted(one.totals())
    middle = statistics.median(totals)
    worst = totals[math.ceil(0.99 * len(totals)) - 1]
    parts = [f"{one.median(phase):.2f} ({100 * one.median(phase) / middle:.0f} %)" for phase in PHASES]
    target = f"{one.cause.target:.0f} s" if one.cause.target else "–"
    return (
        f"| {one.cause.name} | {len(totals)} | {middle:.2f} s | {worst:.2f} s | {target} | " + " | ".join(parts) + " |"
    )


def as_json(series: Sequence[Series]) -> list[dict[str, Any]]:
    """Every try."""
    return [
        {"cause": one.cause.name, "target": one.cause.target, "totals": one.totals(), "tries": list(one.tries)}
        for one in series
    ]


def _words(one: dict[str, float]) -> str:
    return f"{sum(one.values()):.2f} s (" + ", ".join(f"{phase} {one[phase]:.2f}" for phase in PHASES) + ")"
