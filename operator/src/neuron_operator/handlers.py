"""What wakes the queue. A handler puts a key into it and does nothing that can fail; it returns None, always (a value
would be written into the status by kopf, kopf.md §6).
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import kopf

from neuron_api import contract

from .workqueue import Key

GATHER_SECONDS: Final = 0.2
"""A gang's pods change together: one pass for all of them."""

Add = Callable[[Key, float], None]
Saw = Callable[[Key, str], None]
"""Called with the resource version of each job that an event brings."""


def registry(add: Add, saw: Saw) -> kopf.OperatorRegistry:
    """A registry of its own, so that two operators in one process (tests) do not share it."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers, id="login")
    def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**kwargs) or kopf.login_via_client(**kwargs)

    @kopf.on.event(contract.GROUP, contract.VERSION, contract.PLURAL, registry=handlers, id="job")
    async def job(namespace: str | None, name: str | None, meta: kopf.Meta, **_: Any) -> None:
        key = Key(str(namespace), str(name))
        saw(key, str(meta.get("resourceVersion", "")))
        add(key, 0.0)

    @kopf.on.event("v1", "pods", labels={contract.LABEL_JOB: kopf.PRESENT}, registry=handlers, id="pod")
    async def pod(namespace: str | None, labels: Mapping[str, str], **_: Any) -> None:
        add(Key(str(namespace), labels[contract.LABEL_JOB]), GATHER_SECONDS)

    return handlers
