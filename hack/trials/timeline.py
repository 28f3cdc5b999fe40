"""When the pods of a job were first seen created, scheduled, running, ended and gone: polled, on one clock."""

import time
from collections import defaultdict
from threading import Event, Thread
from types import TracebackType
from typing import Any

from .job import TrialJob

Json = dict[str, Any]
_POLL = 0.05


class Timeline:
    """Watches from a thread of its own while the block lasts."""

    def __init__(self, job: TrialJob) -> None:
        self._job, self._stop = job, Event()
        self._thread = Thread(target=self._watch, daemon=True)
        self.moments: dict[str, dict[str, float]] = defaultdict(dict)
        """By UID: created, scheduled, running, ended, gone; seconds since the epoch."""
        self.names: dict[str, str] = {}
        """UID to name."""

    def __enter__(self) -> "Timeline":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def of(self, uid: str) -> dict[str, float]:
        """Moments of one pod."""
        return dict(self.moments.get(uid, {}))

    def _watch(self) -> None:
        while not self._stop.wait(_POLL):
            pods, now = self._job.pods(), time.time()
            for pod in pods:
                self.names[pod.uid] = pod.name
                for moment in _reached(pod.body):
                    self.moments[pod.uid].setdefault(moment, now)
            for uid in self.names.keys() - {pod.uid for pod in pods}:
                for moment in ("ended", "gone"):
                    self.moments[uid].setdefault(moment, now)


def _reached(body: Json) -> list[str]:
    states = [one.get("state", {}) for one in body.get("status", {}).get("containerStatuses", [])]
    found = {
        "created": True,
        "scheduled": bool(body["spec"].get("nodeName")),
        "running": any("running" in state for state in states),
        "ended": bool(states) and all("terminated" in state for state in states),
    }
    return [name for name, is_so in found.items() if is_so]
