"""Write a job's status; where its CRD is of another release, as much of it as that takes.

Parts that the API server names in its refusal are left out, as long as every decision stays
(`planning.status.refusal`). Where a decision would be lost, the job keeps the status that it has, with a condition that
says so: its pods go on, the operator decides nothing, and both change as soon as the CRD is the operator's.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from neuron_api.resource.job import NeuronTrainingJob, drop_parts, parse, parse_path
from neuron_api.resource.status import JobStatus

from .kube import gateway as api
from .kube.errors import RefusedError
from .kube.event_recorder import Recorder
from .kube.gateway import Cluster
from .planning.status import refusal
from .planning.status.changes import Announcement
from .queue.workqueue import JobKey
from .readers.job_reader import Observation

log = logging.getLogger(__name__)

Json = dict[str, Any]

RETRY_SECONDS: Final = 60.0
"""Until a status that could not be stored is written again: somebody has to apply a CRD first."""
_MAX_WRITES: Final = 8
"""Of one status, each with less in it: the API server does not always name everything at once."""
_MAX_MESSAGE: Final = 2000
_REMEDY: Final = (
    "The CRD is of another release than the operator. Apply the CRD of the operator's release; "
    "the job then continues. Its pods keep running until then."
)


@dataclass(frozen=True, slots=True)
class _Problem:
    """Why a status is not stored whole."""

    text: str
    """In the API server's words; empty: it is."""
    fields: frozenset[str] = frozenset()
    """Those that it names, each time in another order."""

    def is_same(self, other: "_Problem") -> bool:
        """Return whether there is nothing new to report."""
        return self.fields == other.fields if self.fields and other.fields else self.text == other.text


_NO_PROBLEM: Final = _Problem("")


class StatusWriter:
    """One for all jobs; what is wrong with the status of a job is reported once."""

    def __init__(self, cluster: Cluster, recorder: Recorder, count: Callable[[], None]) -> None:
        self._cluster, self._recorder, self._count = cluster, recorder, count
        self._reported: dict[JobKey, _Problem] = {}

    async def write(self, key: JobKey, observation: Observation, status: JobStatus, now: datetime) -> Json | None:
        """The job as stored; None where a decision could not be stored. Raises the `ApiError`s of `Cluster.replace`,
        but for 422."""
        value, problem = as_json(status), _NO_PROBLEM
        if unread := observation.observed.job.unread:  # Gone with this write.
            log.warning("%s: parts of the status cannot be read and are dropped: %s", key, "; ".join(unread))
        written: Json | None
        try:
            written = await self._put(observation, value)
        except RefusedError as refused:
            if refused.status != 422:
                raise
            written = await self._put_less(observation, status, value, refused)
            problem = _Problem(refused.message, frozenset(refused.fields))
        if written is not None and not problem.text:
            problem = _Problem(_dropped(value, written))
        if not problem.text:
            self.forget(key)
            return written
        await self._report(key, observation.observed.job, problem)
        if written is not None and refusal.decisions(parse(written).status) == refusal.decisions(status):
            return written
        await self._explain(observation, written, problem.text, now)
        return None

    def forget(self, key: JobKey) -> None:
        """Everything is well with the job's status, or the job is gone."""
        self._reported.pop(key, None)

    def summary(self) -> str:
        """Return for people which jobs have a status that is not stored, and what to do; empty if there are none."""
        if not self._reported:
            return ""
        key, problem = next(iter(self._reported.items()))
        others = f" and {len(self._reported) - 1} more" if len(self._reported) > 1 else ""
        return f"The API server does not store the status of {key}{others}: {problem.text[:_MAX_MESSAGE]} {_REMEDY}"

    async def _put(self, observation: Observation, value: Json) -> Json:
        return await self._cluster.replace(api.JOB, {**observation.body, "status": value}, "status")

    async def _put_less(
        self, observation: Observation, status: JobStatus, value: Json, problem: RefusedError
    ) -> Json | None:
        """Write the status without the fields that are refused; None: a decision is among them."""
        for _ in range(_MAX_WRITES):
            paths = (parse_path(field) for field in problem.fields)
            less = drop_parts({"status": value}, paths).get("status", {})
            rest = parse({**observation.body, "status": less}).status
            if less == value or refusal.decisions(rest) != refusal.decisions(status):
                return None
            try:
                return await self._put(observation, less)
            except RefusedError as again:
                value, problem = less, again
        return None

    async def _explain(self, observation: Observation, written: Json | None, problem: str, now: datetime) -> None:
        """Beside the log and the event, where the schema takes that much."""
        body = written or observation.body
        job = observation.observed.job
        message = f"The API server does not store this status: {problem[:_MAX_MESSAGE]} {_REMEDY}"
        explained = refusal.explanation(job.status, message, job.metadata.generation, now)
        if written is None and explained == job.status:
            return
        try:
            await self._cluster.replace(api.JOB, {**body, "status": as_json(explained)}, "status")
        except RefusedError as refused:
            log.debug("no condition explains it: %s", refused)

    async def _report(self, key: JobKey, job: NeuronTrainingJob, problem: _Problem) -> None:
        self._count()
        if problem.is_same(self._reported.get(key, _NO_PROBLEM)):
            return
        self._reported[key] = problem
        log.error("%s: the API server does not store the status: %s %s", key, problem.text, _REMEDY)
        note = f"{_REMEDY} {problem.text}"
        await self._recorder.post(job, (Announcement("Warning", "StatusRefused", "Save", note),))


class StatusThrottle:
    """Spaces out the writes that only bring numbers up to date (`planning.status.changes` says which those are)."""

    def __init__(self, min_seconds: float) -> None:
        self._min_seconds, self._last = min_seconds, dict[JobKey, datetime]()

    def wait(self, key: JobKey, now: datetime) -> float:
        """Return the seconds until numbers may be written again; 0: now."""
        last = self._last.get(key)
        return min(self._min_seconds, max(0.0, self._min_seconds - (now - last).total_seconds())) if last else 0.0

    def written(self, key: JobKey, now: datetime) -> None:
        """Remember a write."""
        self._last[key] = now

    def forget(self, key: JobKey) -> None:
        """Forget a job that is gone."""
        self._last.pop(key, None)


def as_json(status: JobStatus) -> Json:
    """Return the status as it is on the wire."""
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


def _dropped(value: Json, written: Json) -> str:
    """Return which fields the API server dropped without an error, because its schema does not have them."""
    stored = written.get("status") or {}
    missing = sorted(_missing(value, stored, "status")) if stored != value else []
    return f"fields that its schema does not have are dropped: {', '.join(missing)}." if missing else ""


def _missing(value: Any, stored: Any, field: str) -> set[str]:
    if isinstance(value, dict) and isinstance(stored, dict):
        absent = {f"{field}.{key}" for key in value if key not in stored}
        return absent.union(*(_missing(value[key], stored[key], f"{field}.{key}") for key in value if key in stored))
    if isinstance(value, list) and isinstance(stored, list):
        return set().union(*(_missing(old, new, f"{field}[]") for old, new in zip(value, stored, strict=False)))
    return set()
