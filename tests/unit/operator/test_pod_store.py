"""What a pass reads instead of a request: as a listing and the events after it have the pods."""

import asyncio
from typing import Any

import pytest

from bounds import BOUND
from neuron_api import contract
from neuron_operator.cache.pod_store import PodStore
from neuron_operator.queue.workqueue import JobKey

A, B = JobKey("ns", "a"), JobKey("ns", "b")


class Woken(list[JobKey]):
    """What the store woke."""

    def __init__(self) -> None:
        self.bad: list[bool] = []

    def __call__(self, key: JobKey, bad: bool) -> None:
        self.append(key)
        self.bad.append(bad)

    def take(self) -> list[JobKey]:
        found = list(self)
        self.clear()
        return found


def pod(name: str, job: str = "a", uid: str = "", version: str = "1", phase: str = "Pending", **more: Any) -> Any:
    metadata = {"name": name, "namespace": "ns", "uid": uid or f"uid-{name}", "resourceVersion": version}
    metadata["labels"] = {contract.LABEL_JOB: job} if job else {}
    return {"metadata": metadata, "spec": {"nodeName": "n"}, "status": {"phase": phase}, **more}


@pytest.fixture
def woken() -> Woken:
    return Woken()


@pytest.fixture
def store(woken: Woken) -> PodStore:
    made = PodStore(woken)
    made.expect([""])
    return made


def names(store: PodStore, key: JobKey) -> list[str]:
    return [body["metadata"]["name"] for body in store.job_pods(key)]


async def test_it_is_complete_when_every_namespace_was_listed(woken: Woken) -> None:
    store = PodStore(woken)
    store.expect(["x", "y"])
    waiting = asyncio.create_task(store.complete())
    store.replace("x", [])
    await asyncio.sleep(0)
    assert not waiting.done()
    store.replace("y", [])
    await asyncio.wait_for(waiting, BOUND)


def test_a_listing_wakes_each_job_and_is_sorted_by_name(store: PodStore, woken: Woken) -> None:
    store.replace("", [pod("a-1"), pod("a-0"), pod("b-0", "b")])
    assert (names(store, A), names(store, B)) == (["a-0", "a-1"], ["b-0"])
    assert set(woken.take()) == {A, B}


def test_what_a_later_listing_lacks_is_gone_and_its_job_is_woken(store: PodStore, woken: Woken) -> None:
    """No event tells of a deletion in a gap of the watch."""
    store.replace("", [pod("a-0"), pod("b-0", "b")])
    woken.take()
    store.replace("", [pod("a-0")])
    assert (names(store, A), names(store, B)) == (["a-0"], [])
    assert woken.take() == [B]


def test_a_listing_of_one_namespace_leaves_the_others(store: PodStore) -> None:
    other = pod("a-0")
    other["metadata"]["namespace"] = "elsewhere"
    store.replace("", [pod("a-0"), other])
    store.replace("ns", [])
    assert (names(store, A), names(store, JobKey("elsewhere", "a"))) == ([], ["a-0"])


def test_an_event_that_changes_only_the_version_wakes_nobody(store: PodStore, woken: Woken) -> None:
    store.replace("", [pod("a-0")])
    woken.take()
    store.event("MODIFIED", pod("a-0", version="2"))
    assert woken.take() == []
    store.event("MODIFIED", pod("a-0", version="3", phase="Running"))
    assert woken.take() == [A]
    assert store.job_pods(A)[0]["status"]["phase"] == "Running"


def test_a_pod_of_our_own_is_there_before_its_event(store: PodStore, woken: Woken) -> None:
    store.created(pod("a-0"))
    assert (names(store, A), woken.take()) == (["a-0"], [])


def test_an_answer_that_comes_after_the_events_changes_nothing(store: PodStore) -> None:
    store.event("ADDED", pod("a-0"))
    store.event("MODIFIED", pod("a-0", version="2", phase="Running"))
    store.created(pod("a-0"))
    assert store.job_pods(A)[0]["status"]["phase"] == "Running"


def test_an_answer_that_comes_after_the_deletion_brings_no_ghost_back(store: PodStore) -> None:
    store.event("ADDED", pod("a-0"))
    store.event("DELETED", pod("a-0"))
    store.created(pod("a-0"))
    assert names(store, A) == []
    store.created(pod("a-0", uid="its successor"))
    assert names(store, A) == ["a-0"]


def test_a_pod_whose_label_was_changed_leaves_one_job_and_joins_the_other(store: PodStore, woken: Woken) -> None:
    store.replace("", [pod("a-0")])
    woken.take()
    store.event("MODIFIED", pod("a-0", job="b"))
    assert (names(store, A), names(store, B)) == ([], ["a-0"])
    assert set(woken.take()) == {A, B}


def test_it_keeps_no_more_of_a_body_than_passes_look_at(store: PodStore) -> None:
    body = pod("a-0")
    body["metadata"]["managedFields"] = [{"manager": "someone"}]
    body["spec"]["containers"] = [{"name": "trainer"}]
    store.created(body)
    kept = store.job_pods(A)[0]
    assert "managedFields" not in kept["metadata"]
    assert kept["spec"] == {"nodeName": "n"}
    assert (len(store), body["spec"]["containers"]) == (1, [{"name": "trainer"}])


def test_what_ends_or_goes_is_bad_news_and_what_comes_up_is_not(store: PodStore, woken: Woken) -> None:
    store.event("ADDED", pod("a-0"))
    store.event("MODIFIED", pod("a-0", phase="Running"))
    store.event("MODIFIED", pod("a-0", phase="Failed"))
    store.event("DELETED", pod("a-0", phase="Failed"))
    assert woken.bad == [False, False, True, True]


def test_the_events_of_a_pod_whose_name_we_have_given_away_are_late(store: PodStore, woken: Woken) -> None:
    """Its successor was created right after its deletion: both answers came before either event."""
    store.event("ADDED", pod("a-0", uid="old", phase="Failed"))
    store.created(pod("a-0", uid="new"))
    woken.take()
    store.event("MODIFIED", pod("a-0", uid="old", phase="Failed", version="2"))
    store.event("DELETED", pod("a-0", uid="old", phase="Failed", version="3"))
    assert [body["metadata"]["uid"] for body in store.job_pods(A)] == ["new"]
    assert woken.take() == []
    store.event("ADDED", pod("a-0", uid="new"))
    store.event("DELETED", pod("a-0", uid="new"))
    assert (names(store, A), woken.take()) == ([], [A])


ENDED = [{"name": "trainer", "state": {"terminated": {"exitCode": 1}}}]


@pytest.mark.parametrize(
    ("status", "failed"),
    [
        ({"phase": "Running"}, False),
        ({"phase": "Failed"}, True),
        ({"phase": "Succeeded"}, False),
        ({"phase": "Running", "containerStatuses": ENDED}, True),
        ({"phase": "Running", "containerStatuses": [{"state": {"terminated": {"exitCode": 0}}}]}, False),
    ],
)
def test_it_tells_whether_a_pod_has_failed_that_nobody_has_deleted(
    store: PodStore, status: dict[str, Any], failed: bool
) -> None:
    body = pod("a-0") | {"status": status}
    store.replace("", [pod("a-1"), body, pod("b-0", "b")])
    assert (store.has_failed(A), store.has_failed(B)) == (failed, False)
    body["metadata"]["deletionTimestamp"] = "2026-11-24T12:00:00Z"
    store.event("MODIFIED", body)
    assert not store.has_failed(A)
