"""Who may act, as time passes; the Lease on a real API server is in tests/integration/test_process.py."""

from typing import Any

import pytest

from builders import NOW
from neuron_operator.kube import lease as leases
from neuron_operator.kube.errors import LeaseLostError
from neuron_operator.kube.lease import Lease

from .fakes import Clock, FakeCluster


def candidate(cluster: FakeCluster, clock: Clock, name: str) -> Lease:
    return Lease(cluster, "ns", "lease", name, lambda: NOW, clock)  # type: ignore[arg-type]


def spec(cluster: FakeCluster) -> dict[str, Any]:
    found: dict[str, Any] = cluster.objects["leases", "ns", "lease"]["spec"]
    return found


async def test_the_first_takes_it_and_the_second_waits_until_it_has_not_changed_for_its_duration() -> None:
    cluster, clock = FakeCluster(), Clock()
    one, two = candidate(cluster, clock, "one"), candidate(cluster, clock, "two")
    assert await one._try()
    assert not await two._try()
    clock.now += 14
    assert not await two._try()
    assert await one._try()  # renewed
    clock.now += 14
    assert not await two._try()
    clock.now += 15.1
    assert await two._try()
    assert (spec(cluster)["holderIdentity"], spec(cluster)["leaseTransitions"]) == ("two", 1)
    assert not await one._try()


async def test_a_restarted_container_takes_its_own_lease_up_at_once() -> None:
    cluster, clock = FakeCluster(), Clock()
    assert await candidate(cluster, clock, "one")._try()
    assert await candidate(cluster, clock, "one")._try()
    assert spec(cluster)["leaseTransitions"] == 0


async def test_a_lease_that_was_given_back_is_free_at_once() -> None:
    cluster, clock = FakeCluster(), Clock()
    one = candidate(cluster, clock, "one")
    await one.acquire()
    await one.release()
    assert await candidate(cluster, clock, "two")._try()


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Sleeping takes no time here, but moves the clock."""
    clock = Clock()

    async def sleep(seconds: float) -> None:
        clock.now += seconds

    monkeypatch.setattr(leases.asyncio, "sleep", sleep)
    return clock


async def test_a_leader_that_cannot_renew_ends_before_anybody_else_may_act(no_pause: Clock) -> None:
    cluster = FakeCluster()
    one = candidate(cluster, no_pause, "one")
    await one.acquire()
    cluster.is_away = True
    start = no_pause.now
    with pytest.raises(LeaseLostError, match="was not renewed"):
        await one.keep()
    assert not one.is_held
    assert no_pause.now - start < leases.DURATION_SECONDS


async def test_a_leader_whose_lease_was_taken_ends_at_once(no_pause: Clock) -> None:
    cluster = FakeCluster()
    one = candidate(cluster, no_pause, "one")
    await one.acquire()
    spec(cluster)["holderIdentity"] = "two"
    cluster.objects["leases", "ns", "lease"]["metadata"]["resourceVersion"] = "99"
    start = no_pause.now
    with pytest.raises(LeaseLostError, match="is held by two"):
        await one.keep()
    assert no_pause.now - start == leases.RETRY_SECONDS


async def test_a_leader_renews_without_reading_until_somebody_has_written(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster, clock, reads = FakeCluster(), Clock(), 0
    one, find = candidate(cluster, clock, "one"), cluster.find

    async def counted(*where: Any) -> Any:
        nonlocal reads
        reads += 1
        return await find(*where)

    monkeypatch.setattr(cluster, "find", counted)
    assert await one._try()  # created
    assert await one._try()
    assert await one._try()
    taken = reads
    assert await one._try()
    assert reads == taken
    body = cluster.objects["leases", "ns", "lease"]
    body["metadata"] = {**body["metadata"], "resourceVersion": "99", "labels": {"by": "somebody"}}
    assert await one._try(), "an edit by hand does not end the operator"
    assert cluster.objects["leases", "ns", "lease"]["metadata"]["labels"] == {"by": "somebody"}
    del cluster.objects["leases", "ns", "lease"]
    assert await one._try()
