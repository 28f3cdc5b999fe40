"""How many requests run at once, and which waits for none."""

import asyncio
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from bounds import BOUND
from neuron_operator.kube import gateway as api
from neuron_operator.kube.gateway import PARALLEL, Cluster


class Slow(Cluster):
    """Answers about pods never come."""

    def __init__(self) -> None:
        super().__init__(SimpleNamespace())  # type: ignore[arg-type]
        self.sent: list[str] = []

    async def _send(self, verb: str, path: str, *_: Any) -> AbstractAsyncContextManager[Any]:  # type: ignore[override]
        self.sent.append(path)

        @asynccontextmanager
        async def answer() -> Any:
            if "/pods/" in path:
                await asyncio.Event().wait()
            yield SimpleNamespace(status=200, headers={}, read=read)

        async def read() -> bytes:
            return b"{}"

        return answer()


@pytest.fixture
async def busy() -> Any:
    """A gateway all of whose requests are held up."""
    cluster = Slow()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(cluster.get(api.POD, "ns", str(number))) for number in range(PARALLEL + 1)]
        await asyncio.sleep(0)  # each has gone as far as it can
        assert len(cluster.sent) == PARALLEL
        yield cluster
        for task in tasks:
            task.cancel()


async def test_no_more_requests_run_at_once_than_the_bound(busy: Slow) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await busy.get(api.SERVICE, "ns", "x")
    assert len(busy.sent) == PARALLEL


async def test_the_lease_is_renewed_while_all_other_requests_are_held_up(busy: Slow) -> None:
    async with asyncio.timeout(BOUND):
        assert await busy.get(api.LEASE, "ns", "x") == {}
