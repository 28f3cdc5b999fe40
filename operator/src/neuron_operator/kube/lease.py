"""Leader election by a `coordination.k8s.io` Lease: one operator acts, another may stand by.

No clocks are compared: a holder is dead when its Lease has not changed for its duration on *our* clock. A leader that
cannot renew within `RENEW_SECONDS` ends (`LeaseLostError`), before anybody else may take over.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from . import gateway as api
from .errors import AlreadyExistsError, ApiError, ConflictError, LeaseLostError, NotFoundError
from .gateway import Cluster

log = logging.getLogger(__name__)

Json = dict[str, Any]

DURATION_SECONDS: Final = 15
RENEW_SECONDS: Final = 10.0
RETRY_SECONDS: Final = 2.0
"""client-go's defaults."""


@dataclass(slots=True)
class Lease:
    """One candidate's view."""

    cluster: Cluster
    namespace: str
    name: str
    identity: str
    """Name of the pod: a restarted container of the same pod takes its own Lease up again at once."""
    now: Callable[[], datetime]
    """UTC, for the timestamps that people read."""
    monotonic: Callable[[], float]
    is_held: bool = False
    _is_own: bool = False
    """What was seen last was written here: it is renewed without being read again, as client-go does."""
    _last: Json = field(default_factory=dict)
    _read_at: float = 0.0

    async def acquire(self) -> None:
        """Return when this candidate is the leader."""
        while True:
            if await self._try():
                break
            await asyncio.sleep(RETRY_SECONDS)
        self.is_held = True
        log.info("lease %s/%s is held by %s", self.namespace, self.name, self.identity)

    async def keep(self) -> None:
        """Renew forever; raises `LeaseLostError`."""
        renewed = self.monotonic()
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            try:
                async with asyncio.timeout(RENEW_SECONDS):
                    if await self._try():
                        renewed = self.monotonic()
                    elif self._holder() != self.identity:
                        raise LeaseLostError(f"lease {self.namespace}/{self.name} is held by {self._holder()}")
            except TimeoutError:
                log.warning("the lease was not renewed within %.0f s", RENEW_SECONDS)
            if self.monotonic() - renewed > RENEW_SECONDS:
                self.is_held = False
                raise LeaseLostError(f"lease {self.namespace}/{self.name} was not renewed for {RENEW_SECONDS:.0f} s")

    async def release(self) -> None:
        """Give it up, so that the next one need not wait; only where nothing acts any more."""
        if not self.is_held:
            return
        self.is_held = False
        try:
            async with asyncio.timeout(RETRY_SECONDS):
                body = await self.cluster.get(api.LEASE, self.namespace, self.name)
                if body["spec"].get("holderIdentity") == self.identity:
                    body["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
                    await self.cluster.replace(api.LEASE, body)
        except (ApiError, TimeoutError) as problem:
            log.info("the lease was not released: %s", problem)

    async def _try(self) -> bool:
        """Take or renew it; False while somebody else has it, or where the API server gives no answer."""
        try:
            if self._is_own:
                with suppress(ConflictError, NotFoundError):
                    return await self._write(self._last)
            self._is_own = False
            body = await self.cluster.find(api.LEASE, self.namespace, self.name)
            if body is None:
                self._see(await self.cluster.create(api.LEASE, self._body({}, {})))
                self._is_own = True
                return True
            if body["metadata"]["resourceVersion"] != self._last.get("metadata", {}).get("resourceVersion"):
                self._see(body)
            return self._is_free() and await self._write(body)
        except (ConflictError, AlreadyExistsError):
            return False
        except ApiError as problem:
            self._is_own = False
            log.warning("the lease cannot be read or written: %s", problem)
            return False

    async def _write(self, body: Json) -> bool:
        self._see(await self.cluster.replace(api.LEASE, self._body(body["metadata"], body["spec"])))
        self._is_own = True
        return True

    def _see(self, body: Json) -> None:
        self._last, self._read_at = body, self.monotonic()

    def _holder(self) -> str:
        return str(self._last.get("spec", {}).get("holderIdentity") or "")

    def _is_free(self) -> bool:
        if self._holder() in ("", self.identity):
            return True
        duration = float(self._last["spec"].get("leaseDurationSeconds") or DURATION_SECONDS)
        return self.monotonic() - self._read_at > duration

    def _body(self, metadata: Json, before: Json) -> Json:
        now = self.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        same = before.get("holderIdentity") == self.identity
        transitions = int(before.get("leaseTransitions") or 0) + (0 if same or not before else 1)
        return {
            "apiVersion": api.LEASE.api_version,
            "kind": "Lease",
            "metadata": {**metadata, "namespace": self.namespace, "name": self.name},
            "spec": {
                "holderIdentity": self.identity,
                "leaseDurationSeconds": DURATION_SECONDS,
                "acquireTime": before.get("acquireTime", now) if same else now,
                "renewTime": now,
                "leaseTransitions": transitions,
            },
        }
