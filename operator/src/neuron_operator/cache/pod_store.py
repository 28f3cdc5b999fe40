"""The pods of all jobs, as a listing and the events after it have them: what a pass reads instead of a request.

Fed by `pod_watch`, replaced whole by each listing: what was deleted while nobody watched is found missing then. Our own
creations are entered at once, since the event may come after the next pass. Bodies are trimmed to what passes look at.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from neuron_api import contract
from neuron_operator.queue.workqueue import JobKey

Json = dict[str, Any]
Place = tuple[str, str]
"""Namespace and name of a pod."""

_REMEMBERED: Final = 20_000
"""UIDs of deleted pods: an answer to our POST that comes after the event of the deletion brings no ghost back."""
_IN_METADATA: Final = ("managedFields", "generation", "selfLink")
_IN_SPEC: Final = ("nodeName", "schedulingGates", "schedulerName", "priorityClassName", "workloadRef")


class PodStore:
    """See the module. `wake` is called with the job of every pod that has changed, and whether for the worse."""

    def __init__(self, wake: Callable[[JobKey, bool], None]) -> None:
        self._wake = wake
        self._jobs: dict[JobKey, dict[str, Json]] = {}
        self._job_of: dict[Place, JobKey] = {}
        self._deleted: OrderedDict[str, None] = OrderedDict()
        self._unlisted: set[str] = set()
        self._complete = asyncio.Event()

    def expect(self, namespaces: Iterable[str]) -> None:
        """Not complete before each of these was listed ("" is all of them)."""
        self._unlisted = set(namespaces)

    async def complete(self) -> None:
        """Wait for the first listing."""
        await self._complete.wait()

    def job_pods(self, key: JobKey) -> list[Json]:
        """Return the pods that carry the job's name, by name."""
        return [body for _, body in sorted(self._jobs.get(key, {}).items())]

    def has_failed(self, key: JobKey) -> bool:
        """Return whether some pod of the job has ended badly, and nobody has deleted it yet."""
        return any(_has_failed(body) for body in self._jobs.get(key, {}).values())

    def __len__(self) -> int:
        return len(self._job_of)

    # ---- what changes it --------------------------------------------------------------------------------------------

    def replace(self, namespace: str, bodies: Iterable[Json]) -> None:
        """A listing of a namespace, or of all: what is not in it is not there."""
        listed = {_place(body): body for body in bodies}
        gone = [place for place in self._job_of if namespace in ("", place[0]) and place not in listed]
        for place in gone:
            self._remove(place)
        for body in listed.values():
            self._put(body)
        self._unlisted.discard(namespace)
        if not self._unlisted:
            self._complete.set()

    def event(self, kind: str, body: Json) -> None:
        """ADDED, MODIFIED or DELETED."""
        uid, stored_uid = body["metadata"]["uid"], self._uid_at(_place(body))
        if kind == "DELETED":
            self._bury(uid)
            if stored_uid == uid:
                self._remove(_place(body))
        elif uid not in self._deleted:
            self._put(body)

    def created(self, body: Json) -> None:
        """The answer to our own POST; an event that was quicker knows more, one of its predecessor is late."""
        uid, stored_uid = body["metadata"]["uid"], self._uid_at(_place(body))
        if stored_uid == uid or uid in self._deleted:
            return
        if stored_uid is not None:
            self._bury(stored_uid)
        self._enter(body)

    def _uid_at(self, place: Place) -> str | None:
        key = self._job_of.get(place)
        return str(self._jobs[key][place[1]]["metadata"]["uid"]) if key else None

    def _put(self, body: Json) -> None:
        key, before = self._enter(body)
        if key is None:
            return
        after = self._jobs[key][body["metadata"]["name"]]
        if before is None or _matters(before) != _matters(after):
            self._wake(key, _is_bad(after))

    def _enter(self, body: Json) -> tuple[JobKey | None, Json | None]:
        """The job and what was known of the pod."""
        place = _place(body)
        job = body["metadata"].get("labels", {}).get(contract.LABEL_JOB)
        key = JobKey(place[0], job) if job else None
        old = self._job_of.get(place)
        if old is not None and old != key:
            self._remove(place)
        if key is None:
            return None, None
        pods = self._jobs.setdefault(key, {})
        before, pods[place[1]] = pods.get(place[1]), _trimmed(body)
        self._job_of[place] = key
        return key, before

    def _remove(self, place: Place) -> None:
        key = self._job_of.pop(place, None)
        if key is None:
            return
        pods = self._jobs[key]
        del pods[place[1]]
        if not pods:
            del self._jobs[key]
        self._wake(key, True)

    def _bury(self, uid: str) -> None:
        self._deleted[uid] = None
        while len(self._deleted) > _REMEMBERED:
            self._deleted.popitem(last=False)


def _place(body: Json) -> Place:
    return body["metadata"]["namespace"], body["metadata"]["name"]


def _trimmed(body: Json) -> Json:
    metadata = {key: value for key, value in body["metadata"].items() if key not in _IN_METADATA}
    spec = body.get("spec", {})
    return {
        "metadata": metadata,
        "spec": {key: spec[key] for key in _IN_SPEC if key in spec},
        "status": body.get("status", {}),
    }


def _matters(body: Json) -> tuple[Mapping[str, Any], ...]:
    """Without the version, which changes with everything."""
    metadata = {key: value for key, value in body["metadata"].items() if key != "resourceVersion"}
    return metadata, body["spec"], body["status"]


def _has_failed(body: Json) -> bool:
    ends = (container.get("state", {}).get("terminated") for container in body["status"].get("containerStatuses", ()))
    failed = body["status"].get("phase") == "Failed" or any(end and end.get("exitCode") for end in ends)
    return failed and "deletionTimestamp" not in body["metadata"]


def _is_bad(body: Json) -> bool:
    """The pod is going, or something in it has ended."""
    status = body["status"]
    return (
        "deletionTimestamp" in body["metadata"]
        or status.get("phase") in ("Failed", "Succeeded")
        or any("terminated" in container.get("state", {}) for container in status.get("containerStatuses", ()))
    )
