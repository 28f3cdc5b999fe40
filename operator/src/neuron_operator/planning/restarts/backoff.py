"""How long to wait before pods are created again: not at all the first time, longer while nothing comes of it.

A pod that the kubelet turns away at once would otherwise be created a thousand times an hour.
"""

from datetime import datetime
from typing import Final

from neuron_api.resource.reasons import Reason
from neuron_api.resource.status import JobStatus
from neuron_operator.planning.failures.incident import incidents

from .ledger import open_entries

FREE: Final = 2
"""Replacements in a row, without a step between them, that are made at once."""
FIRST_SECONDS: Final = 10.0
MAX_SECONDS: Final = 300.0


def remaining(status: JobStatus, now: datetime) -> float:
    """Seconds until pods may be created; 0: now."""
    failures = (entry for entry in open_entries(status) if entry.cause is not Reason.SUSPENDED)
    moments = [group[0].time for group in incidents(sorted(failures, key=lambda entry: entry.time))]
    if len(moments) <= FREE:
        return 0.0
    delay = min(FIRST_SECONDS * 2.0 ** (len(moments) - FREE - 1), MAX_SECONDS)
    return min(delay, max(0.0, delay - (now - moments[-1]).total_seconds()))  # the clock may have been set back
