"""Writes that only bring numbers up to date are spaced out (`planning.status.status_diff` says which those are)."""

from datetime import datetime

from neuron_operator.queue.workqueue import JobKey


class StatusThrottle:
    """When each job's status was last written, to space out those that only bring numbers up to date."""

    def __init__(self, least_seconds: float) -> None:
        self._least, self._last = least_seconds, dict[JobKey, datetime]()

    def wait(self, key: JobKey, now: datetime) -> float:
        """Seconds until numbers may be written again; 0: now."""
        last = self._last.get(key)
        return min(self._least, max(0.0, self._least - (now - last).total_seconds())) if last else 0.0

    def written(self, key: JobKey, now: datetime) -> None:
        """Remember a write."""
        self._last[key] = now

    def forget(self, key: JobKey) -> None:
        """The job is gone."""
        self._last.pop(key, None)
