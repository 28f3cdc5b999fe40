"""Hundreds of malformed and hostile jobs: each gets a clear message, none breaks a pass, none leaves anything."""

import asyncio
import re
from typing import Any

import pytest

import hostile_jobs
from neuron_api import contract
from neuron_api.resource.job import parse
from neuron_api.resource.status import ConditionStatus
from neuron_operator.controller import Controller
from neuron_operator.kube import gateway as api
from neuron_operator.kube.errors import ApiError, NotFoundError
from neuron_operator.queue.workqueue import JobKey

from .world import World, manifest, until

Json = dict[str, Any]
AT_ONCE = 8
KSTATUS = ("Ready", "Reconciling", "Stalled")
PASSES = 20


class Judge:
    """Applies one object after another; keeps what was wrong with how it was received."""

    def __init__(self, world: World) -> None:
        self.world, self.controller = world, world.controller()
        self.refused, self.told, self.started = 0, 0, 0
        self.faults: list[str] = []

    async def receive(self, what: str, job: Json) -> None:
        """By the API server, and by the operator what that lets through."""
        namespace, name = self.world.namespace, job["metadata"]["name"]
        try:
            await self.world.cluster.create(api.JOB, job)
        except (ApiError, ValueError) as problem:
            self.refused += 1
            if len(str(problem)) < 20 or not re.search(r"spec|metadata|name|large|limit|decode|invalid", str(problem)):
                self.faults.append(f"{what}: refused without a clear word: {problem}")
            return
        try:
            await self._reconcile(self.controller, JobKey(namespace, name))
            await self._check(what, name)
        except Exception as problem:  # what a pass must not raise is what is looked for
            self.faults.append(f"{what}: {type(problem).__name__}: {str(problem)[:300]}")
        finally:
            await self._delete(name)

    async def _reconcile(self, controller: Controller, key: JobKey) -> None:
        for _ in range(PASSES):
            if (await controller.reconcile(key)).requeue_after != 0.0:
                return
        raise AssertionError(f"something is still to be done at once after {PASSES} passes")

    async def _check(self, what: str, name: str) -> None:
        body = await self.world.cluster.find(api.JOB, self.world.namespace, name)
        if body is None:
            return  # garbage collection was told that its owner is gone
        job = parse(body)
        true = [c for c in job.status.conditions if c.type in KSTATUS and c.status is ConditionStatus.TRUE]
        assert len(true) == 1, f"{len(true)} of {KSTATUS} are true"
        assert len(true[0].message) > 15, f"{true[0].reason}: {true[0].message!r} tells nothing"
        assert "Traceback" not in true[0].message
        self.told += true[0].type == "Stalled"
        self.started += bool(job.status.pods)

    async def _delete(self, name: str) -> None:
        if body := await self.world.cluster.find(api.JOB, self.world.namespace, name):
            await self.world.cluster.delete(api.JOB, self.world.namespace, name, body["metadata"]["uid"])


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # aiohttp, of the 3 MB that we send
async def test_each_of_hundreds_of_hostile_jobs_gets_a_clear_message_and_leaves_nothing(world: World) -> None:
    judge, slots = Judge(world), asyncio.Semaphore(AT_ONCE)
    cases = list(hostile_jobs.jobs(manifest()))
    named = [(what, {**job, "metadata": {**job["metadata"], "namespace": world.namespace, "name": f"h{n}"}})
             for n, (what, job) in enumerate(cases)]  # fmt: skip
    bad_names = [(f"the name {name!r}", manifest(name)) for name in hostile_jobs.NAMES]
    named += [(what, {**job, "metadata": {"namespace": world.namespace, "name": job["metadata"]["name"]}})
              for what, job in bad_names]  # fmt: skip

    async def one(what: str, job: Json) -> None:
        async with slots:
            await judge.receive(what, job)

    await asyncio.gather(*(one(what, job) for what, job in named))
    assert judge.faults == []
    assert len(named) >= 200
    assert judge.refused > 50, "the API server says most of it"
    assert judge.told > 20, "a condition says the rest"
    await until("everything that they left to be gone", lambda: _is_clean(world))


async def _is_clean(world: World) -> bool:
    """Garbage collection takes what the deleted jobs owned."""
    left = []
    for kind in (api.POD, api.SERVICE, api.CONFIG_MAP):
        left += await world.cluster.list(kind, world.namespace, contract.LABEL_JOB)
    terminating = [one for one in left if one["metadata"].get("deletionTimestamp")]
    for pod in terminating:  # no kubelet confirms that it has ended
        try:
            uid = pod["metadata"]["uid"]
            await world.cluster.delete(api.POD, world.namespace, pod["metadata"]["name"], uid, grace=0)
        except NotFoundError:
            continue
    return not left
