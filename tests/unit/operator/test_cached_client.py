"""What the operator need not ask for again, and what it must."""

from typing import Any

import pytest

from neuron_api import contract
from neuron_operator.cache.cached_client import MAX_AGE_SECONDS, MAX_TEXT, WRITTEN_SECONDS, CachedClient, PodView
from neuron_operator.cache.pod_store import PodStore
from neuron_operator.kube import gateway as api
from neuron_operator.kube.gateway import Kind
from neuron_operator.queue.workqueue import JobKey

from .fakes import Clock
from .test_pod_store import pod

Json = dict[str, Any]
OWNED = {"ownerReferences": [{"controller": True, "kind": contract.KIND, "uid": "u"}]}


class Live(CachedClient):
    """A view whose requests are answered out of a table, and counted."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.store = PodStore(lambda *_: None)
        self.store.replace("", [])
        self.objects: dict[str, Json] = {}
        self.asked: list[str] = []
        super().__init__(Empty(), self.store, self.clock)

    async def _call(self, verb: str, kind: Kind, path: str, *_: Any, **__: Any) -> Json:
        self.asked.append(f"{verb} {path}")
        body = _[1] if len(_) > 1 and verb != "GET" else self.objects.get(path)
        if body is None:
            raise api.NotFoundError(404, "NotFound", path)
        if verb == "PUT":
            body = {**body, "metadata": {**body["metadata"], "resourceVersion": "9"}}
        return dict(body)


class Empty(api.Cluster):
    """A gateway that leads nowhere."""

    def __init__(self) -> None:
        pass


@pytest.fixture
def view() -> Live:
    return Live()


def put(view: Live, kind: Kind, **metadata: Any) -> None:
    view.objects[kind.path("ns", "x")] = {"metadata": {"name": "x", "namespace": "ns", **metadata}}


@pytest.mark.parametrize("kind", [api.SERVICE, api.CONFIG_MAP, api.CLAIM])
async def test_what_a_job_owns_and_its_claim_are_remembered_for_a_while(view: Live, kind: Kind) -> None:
    put(view, kind, **OWNED)
    for _ in range(3):
        assert await view.find(kind, "ns", "x")
    assert len(view.asked) == 1
    view.clock.now += MAX_AGE_SECONDS
    await view.find(kind, "ns", "x")
    assert len(view.asked) == 2


@pytest.mark.parametrize("kind", [api.SERVICE, api.CONFIG_MAP, api.NODE, api.LEASE])
async def test_what_others_may_change_is_asked_for_each_time(view: Live, kind: Kind) -> None:
    put(view, kind)
    for _ in range(3):
        await view.find(kind, "ns", "x")
    assert len(view.asked) == 3


async def test_what_is_not_there_is_not_remembered(view: Live) -> None:
    assert await view.find(api.CLAIM, "ns", "x") is None
    put(view, api.CLAIM)
    assert await view.find(api.CLAIM, "ns", "x") is not None


async def test_what_was_deleted_is_forgotten(view: Live) -> None:
    put(view, api.SERVICE, **OWNED)
    await view.find(api.SERVICE, "ns", "x")
    await view.delete(api.SERVICE, "ns", "x", "u")
    await view.find(api.SERVICE, "ns", "x")
    assert [line.split()[0] for line in view.asked] == ["GET", "DELETE", "GET"]


async def test_a_status_that_was_just_written_is_read_once_without_a_request(view: Live) -> None:
    put(view, api.JOB, resourceVersion="8")
    body = await view.get(api.JOB, "ns", "x")
    await view.replace(api.JOB, body, "status")
    assert view.wrote(JobKey("ns", "x"), "9")
    found = await view.find(api.JOB, "ns", "x")
    assert found is not None
    assert found["metadata"]["resourceVersion"] == "9"
    assert len(view.asked) == 2
    await view.find(api.JOB, "ns", "x")
    assert len(view.asked) == 3
    await view.replace(api.JOB, body, "status")
    view.clock.now += WRITTEN_SECONDS
    await view.find(api.JOB, "ns", "x")
    assert len(view.asked) == 5


async def test_pods_of_a_job_come_out_of_the_store_and_all_others_are_asked_for(view: Live) -> None:
    await view.create(api.POD, pod("a-0"))
    assert [one["metadata"]["name"] for one in await view.list(api.POD, "ns", f"{contract.LABEL_JOB}=a")] == ["a-0"]
    view.objects[api.POD.path("ns")] = {"items": []}
    assert await view.list(api.POD, "ns", contract.LABEL_JOB) == []
    assert [line.split()[0] for line in view.asked] == ["POST", "GET"]


async def test_a_job_that_is_gone_is_forgotten(view: Live) -> None:
    put(view, api.JOB, resourceVersion="8")
    await view.replace(api.JOB, await view.get(api.JOB, "ns", "x"), "status")
    view.forget(JobKey("ns", "x"))
    assert not view.wrote(JobKey("ns", "x"), "9")
    await view.find(api.JOB, "ns", "x")
    assert len(view.asked) == 3


async def test_what_a_job_that_is_gone_owned_is_forgotten(view: Live) -> None:
    """Another one of its name, made within minutes, would find its predecessor's Service there for as long."""
    for name in ("x", "y"):
        owner = {"controller": True, "kind": contract.KIND, "name": name, "uid": "u"}
        body = {"metadata": {"name": name, "namespace": "ns", "ownerReferences": [owner]}}
        view.objects[api.SERVICE.path("ns", name)] = body
        await view.find(api.SERVICE, "ns", name)
    view.objects.clear()
    view.forget(JobKey("ns", "x"))
    assert await view.find(api.SERVICE, "ns", "x") is None
    assert await view.find(api.SERVICE, "ns", "y") is not None


def test_the_pass_after_a_replacement_asks_for_everything_but_pods(view: Live) -> None:
    """A pod that has ended is replaced out of memory; then it is seen whether its successor has what it needs."""
    key = JobKey("ns", "a")
    assert view.for_pass(key) is view
    view.store.event("ADDED", pod("a-0", phase="Failed"))
    assert view.for_pass(key) is view
    view.store.replace("", [])
    after = view.for_pass(key)
    assert isinstance(after, PodView)
    assert not isinstance(after, CachedClient)
    assert view.for_pass(key) is view


async def test_a_configuration_of_a_megabyte_is_asked_for_and_not_kept(view: Live) -> None:
    """Hundreds of jobs may each have one: they would be the operator's memory."""
    put(view, api.CONFIG_MAP, **OWNED)
    view.objects[api.CONFIG_MAP.path("ns", "x")]["data"] = {"config.yaml": "x" * (MAX_TEXT + 1)}
    for _ in range(2):
        assert await view.find(api.CONFIG_MAP, "ns", "x") is not None
    assert len(view.asked) == 2
    assert view._made == {}


async def test_jobs_that_were_written_are_kept_for_a_moment_only(view: Live) -> None:
    for number in range(5):
        body = {"metadata": {"name": f"job-{number}", "namespace": "ns", "resourceVersion": "1"}}
        await view.replace(api.JOB, body, "status")
        view.clock.now += WRITTEN_SECONDS
    assert len(view._written) == 1
