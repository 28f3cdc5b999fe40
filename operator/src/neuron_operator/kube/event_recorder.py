"""Kubernetes Events of a job, posted after the status that they tell of was saved. Losing one loses nothing."""

import logging
from collections.abc import Callable, Iterable
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

from neuron_api import contract
from neuron_api.resource.job import NeuronTrainingJob
from neuron_operator.planning.status.changes import Announcement

from . import gateway as api
from .errors import AlreadyExistsError, ApiError
from .gateway import Cluster

log = logging.getLogger(__name__)

_NOTE_LIMIT: Final = 1024
"""Characters that events.k8s.io/v1 takes."""
BURST: Final = 25
REFILL_SECONDS: Final = 300.0
"""As client-go's recorder: 25 events of an object at once, then one every five minutes."""


class Recorder:
    """Posts; bounded per job; drops rather than blocks."""

    def __init__(self, cluster: Cluster, instance: str, clock: Callable[[], datetime]) -> None:
        self._cluster, self._instance, self._clock = cluster, instance, clock
        self._budgets: dict[tuple[str, ...], tuple[float, datetime]] = {}

    async def post(self, job: NeuronTrainingJob, announcements: Iterable[Announcement]) -> None:
        """One event each, in order."""
        for announcement in announcements:
            if not self._take(job.metadata.namespace, job.metadata.name):
                log.warning(
                    "too many events of %s/%s: %s", job.metadata.namespace, job.metadata.name, announcement.reason
                )
                return
            try:
                await self._cluster.create(api.EVENT, self._body(job, announcement))
            except AlreadyExistsError:
                continue  # told before the operator was restarted
            except ApiError as problem:
                log.warning("event %s of %s is lost: %s", announcement.reason, job.metadata.name, problem)

    def forget(self, namespace: str, name: str) -> None:
        """Forget a job that is gone."""
        self._budgets.pop((namespace, name), None)

    def _take(self, *job: str) -> bool:
        now = self._clock()
        tokens, since = self._budgets.get(job, (float(BURST), now))
        tokens = min(float(BURST), tokens + max(0.0, (now - since).total_seconds()) / REFILL_SECONDS)
        self._budgets[job] = (tokens - 1 if tokens >= 1 else tokens, now)
        return tokens >= 1

    def _body(self, job: NeuronTrainingJob, announcement: Announcement) -> dict[str, Any]:
        metadata = job.metadata
        # The same transition has the same name: what a killed operator told already is refused the second time.
        text = f"{metadata.uid}/{metadata.resource_version}/{announcement.reason}/{announcement.note}"
        return {
            "apiVersion": api.EVENT.api_version,
            "kind": "Event",
            "metadata": {
                "name": f"{metadata.name}.{sha256(text.encode()).hexdigest()[:16]}",
                "namespace": metadata.namespace,
            },
            "eventTime": self._clock().strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "reportingController": f"{contract.GROUP}/operator",
            "reportingInstance": self._instance,
            "type": announcement.kind,
            "reason": announcement.reason,
            "action": announcement.action,
            "note": announcement.note[:_NOTE_LIMIT],
            "regarding": {
                "apiVersion": contract.API_VERSION,
                "kind": contract.KIND,
                "name": metadata.name,
                "namespace": metadata.namespace,
                "uid": metadata.uid,
                "resourceVersion": metadata.resource_version,
            },
        }
