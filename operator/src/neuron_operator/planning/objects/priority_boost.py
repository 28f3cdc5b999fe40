"""What a preemption would cost now, for the queue that chooses whom to preempt (spec.scheduling.maxPriorityBoost).

Kueue adds the annotation `kueue.x-k8s.io/priority-boost` of a Workload to its priority, and preempts those of the
lowest sum first (KEP-7990, feature gate PriorityBoost). The operator is the annotation's only writer:

* 0 directly after a checkpoint; level n once a preemption would lose UNIT x (2^n - 1) node-seconds of training.
* Never below 0, and only while the gang trains: a job that waits with a boost would preempt its equals, one that trains
  with a negative one would be preempted by them, and both would go on for ever.
* At most one write in INTERVAL_SECONDS, but it goes at once with the training. A level falls only when less than
  RELEASE of what it needs is at stake.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from neuron_api import contract
from neuron_operator.planning.context import PlanContext
from neuron_operator.planning.observation.observation import Child
from neuron_operator.planning.scheduling import registry
from neuron_operator.planning.scheduling.adapter import group_name

UNIT: Final = 600.0
"""Node-seconds at stake at level 1: ten minutes of one node."""
INTERVAL_SECONDS: Final = 60.0
RELEASE: Final = 0.8


@dataclass(frozen=True, slots=True)
class Boost:
    """What the annotations of a Workload say."""

    level: int = 0
    time: datetime | None = None
    """When the operator last changed it."""


def next_level(boost: Boost, stake: float, maximum: int, now: datetime) -> int:
    """Return the level for so many node-seconds at stake; the present one while it may not change.

    Args:
        boost: the present level.
        stake: node-seconds of training that a preemption would lose.
        maximum: `spec.scheduling.maxPriorityBoost`.
        now: the time.
    """
    if boost.time and now < boost.time + timedelta(seconds=INTERVAL_SECONDS):
        return boost.level
    if (risen := min(level_of(stake), maximum)) > boost.level:
        return risen
    return max(risen, min(level_of(stake / RELEASE), boost.level, maximum))


def level_of(stake: float) -> int:
    """Return the level of so many node-seconds."""
    return int(math.log2(1 + max(0.0, stake) / UNIT))


def stake_of(level: int) -> float:
    """Return the node-seconds from which on a level holds."""
    return UNIT * (2.0**level - 1)


def annotate(context: PlanContext) -> dict[str, Any] | None:
    """Return the body that changes the boost of the job's Workload; None: it is as it should be, or not asked for."""
    if (workload := _workload(context)) is None:
        return None
    boost = read(workload.body)
    level = 0
    if began := _unsaved_since(context):
        stake = context.gang.size * (context.now - began).total_seconds()
        level = next_level(boost, stake, context.job.spec.scheduling.max_priority_boost or 0, context.now)
    if level == boost.level:
        return None
    metadata = workload.body["metadata"]
    assert isinstance(metadata, Mapping)
    annotations = {_key(context): str(level), contract.ANNOTATION_BOOST_TIME: context.now.isoformat()}
    return {
        "apiVersion": workload.body["apiVersion"],
        "kind": workload.body["kind"],
        "metadata": {**{key: metadata[key] for key in ("namespace", "name", "uid")}, "annotations": annotations},
    }


def seconds_until_due(context: PlanContext) -> float | None:
    """Return the seconds until the clock alone raises the level; None: it does not."""
    if (workload := _workload(context)) is None or not (began := _unsaved_since(context)):
        return None
    boost, size = read(workload.body), context.gang.size
    if boost.level >= (context.job.spec.scheduling.max_priority_boost or 0):
        return None
    reached = began + timedelta(seconds=stake_of(boost.level + 1) / size)
    allowed = boost.time + timedelta(seconds=INTERVAL_SECONDS) if boost.time else reached
    return max(0.0, (max(reached, allowed) - context.now).total_seconds())


def read(body: Mapping[str, object]) -> Boost:
    """Return the boost of a Workload; what nobody can read counts as none, and is written over."""
    metadata = body.get("metadata")
    annotations = (metadata.get("annotations") if isinstance(metadata, Mapping) else None) or {}
    keys = (adapter.kind.boost_annotation for adapter in registry.ADAPTERS.values())
    texts = [annotations[key] for key in keys if key and key in annotations]
    try:
        time = annotations.get(contract.ANNOTATION_BOOST_TIME)
        return Boost(int(texts[0]) if texts else 0, datetime.fromisoformat(time) if time else None)
    except ValueError:
        return Boost()


def _key(context: PlanContext) -> str:
    adapter = registry.adapter_for(context.job)
    return adapter.kind.boost_annotation if adapter else ""


def _workload(context: PlanContext) -> Child | None:
    """Return the object that carries the boost: of this attempt, and only where the scheduler knows a boost."""
    if context.job.spec.scheduling.max_priority_boost is None or not _key(context) or not context.observed.scheduler:
        return None
    name = group_name(context.job, context.gang.attempt)
    return next((group for group in context.observed.scheduler.groups if group.name == name), None)


def _unsaved_since(context: PlanContext) -> datetime | None:
    """Return since when the gang does what no checkpoint in storage has; None: it does not train."""
    if not context.is_stepping:
        return None
    placed = [pod.scheduled_at for pod in context.gang.pods.values() if pod.scheduled_at]
    saved = [context.status.checkpoint.time] if context.status.checkpoint else []
    return max(placed + saved, default=None)
