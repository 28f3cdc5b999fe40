"""What wakes the queue for a job. A handler puts a key into it and does nothing that can fail; it returns None, always
(a value would be written into the status by kopf, upstream-facts.md#kopf-return). Pods wake it through `pod_watch`.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import kopf

from neuron_api import contract

from .queue.workqueue import JobKey

ECHO_SECONDS: Final = 0.1
"""An event of our own status write may come before the answer to it: by then it is known as ours."""

Add = Callable[[JobKey, float], None]
Saw = Callable[[JobKey, str], None]
"""Called with the resource version of each job that an event brings."""
Wrote = Callable[[JobKey, str], bool]
"""Whether the operator wrote this version itself."""


def registry(add: Add, saw: Saw, wrote: Wrote = lambda *_: False) -> kopf.OperatorRegistry:
    """A registry of its own, so that two operators in one process (tests) do not share it."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers, id="login")
    def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**kwargs) or kopf.login_via_client(**kwargs)

    @kopf.on.event(contract.GROUP, contract.VERSION, contract.PLURAL, registry=handlers, id="job")
    async def job(
        namespace: str | None, name: str | None, type: str | None, meta: kopf.Meta, status: kopf.Status, **_: Any
    ) -> None:
        key, version = JobKey(str(namespace), str(name)), str(meta.get("resourceVersion", ""))
        saw(key, version)
        may_be_own_write = (
            type == "MODIFIED"
            and not meta.get("deletionTimestamp")
            and (meta.get("generation") == status.get("observedGeneration"))
        )
        if may_be_own_write:
            asyncio.get_running_loop().call_later(ECHO_SECONDS, lambda: None if wrote(key, version) else add(key, 0.0))
        else:
            add(key, 0.0)

    return handlers
