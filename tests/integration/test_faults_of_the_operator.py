"""One life of a job, driven by operators that are killed, doubled, answered badly or told a wrong time.

`FAULT_SEEDS` (`make test-faults`) tries more seeds than `make test`.
"""

import asyncio
import os
import random
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from typing import Any, cast

import pytest

from fault_table import Row, Trial
from neuron_operator.kube import gateway as api
from neuron_operator.kube.errors import ApiError
from neuron_operator.kube.gateway import Cluster
from neuron_operator.kube.server_clock import Clock

from .crash_points import Death, Killed, MortalCluster, MortalReports
from .faultproxy import FaultProxy, Storm
from .lifecycle import Outcome, events, live
from .operators import Operator
from .world import JOB, World, manifest, until, utc

SEEDS = range(int(os.environ.get("FAULT_SEEDS", "1")))
EXPECTED = Outcome(
    phase="Succeeded",
    attempt=2,
    restarts=4,
    gang_failures=1,
    steps_lost=3,
    ledger=(
        ("Pod", "PodDeleted", 20, 1, 20),
        ("Gang", "PodFailed", 25, 1, 25),
        ("Process", "ProcessKilled", 31, 1, 30),
        ("Gang", "Suspended", 35, 0, 35),
    ),
    children=("configmap/tiny-config", f"pod/{JOB}-2-0", f"pod/{JOB}-2-1", "service/tiny"),
)


async def test_an_undisturbed_life_is_what_the_others_are_compared_with(world: World) -> None:
    async def drive() -> None:
        await world.reconcile()

    assert await live(world, drive) == EXPECTED
    told = await events(world)
    assert max(told.values()) <= 4, told


@pytest.mark.parametrize("seed", SEEDS)
async def test_killed_at_a_hundred_awaits_of_its_passes_it_leaves_no_trace(
    world: World, trial: Trial, seed: int
) -> None:
    draw, kills = random.Random(seed), 0

    async def drive() -> None:
        """Killed at each await in turn, then let through."""
        nonlocal kills
        for at in count(1):
            death = Death(at, after=draw.random() < 0.5)
            mortal = world.controller(MortalCluster(world.cluster, death), MortalReports(world.reports, death))  # type: ignore[arg-type]
            try:
                await world.reconcile(mortal)
                return
            except Killed:
                kills += 1

    assert await live(world, drive) == EXPECTED
    assert kills >= 100
    trial(Row("operator killed at an await of a pass", "API server", kills, orphans=0, end="Succeeded"))


@pytest.mark.parametrize("seed", SEEDS)
async def test_two_operators_at_once_do_what_one_does(world: World, trial: Trial, seed: int) -> None:
    draw = random.Random(seed)

    async def drive() -> None:
        one, two = (world.controller(_Unsteady(world.cluster, draw)) for _ in range(2))  # type: ignore[arg-type]
        await asyncio.gather(world.reconcile(one, passes=60), world.reconcile(two, passes=60))
        await world.reconcile()

    assert await live(world, drive) == EXPECTED
    trial(Row("two operators at once", "API server", 1, orphans=0, end="Succeeded"))


class _Unsteady:
    """A gateway whose requests take differently long."""

    def __init__(self, cluster: Cluster, draw: random.Random) -> None:
        self._cluster, self._draw = cluster, draw

    def __getattr__(self, name: str) -> object:
        method = getattr(self._cluster, name)

        async def request(*arguments: object, **more: object) -> object:
            await asyncio.sleep(self._draw.uniform(0, 0.01))
            return await method(*arguments, **more)

        return request


@dataclass
class _Shaken:
    """A wall clock that is set forwards or back by up to twelve hours again and again."""

    draw: random.Random
    offset: timedelta = timedelta()
    steps: int = 0

    def set(self) -> None:
        self.offset, self.steps = timedelta(hours=self.draw.uniform(-12, 12)), self.steps + 1

    def __call__(self) -> datetime:
        return utc() + self.offset


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_clock_that_is_set_by_hours_ends_and_delays_nothing(world: World, trial: Trial, seed: int) -> None:
    wall = _Shaken(random.Random(seed))
    clock, dates = Clock(wall), set[str | None]()

    def heard(date: str | None) -> None:
        dates.add(date)
        clock.observe_server_date(date)

    async with api.connect(heard=heard) as connection:

        async def drive() -> None:
            controller = world.controller(connection, clock=clock)
            for _ in range(20):
                wall.set()
                if (await controller.reconcile(world.key)).requeue_after != 0.0:
                    return
            raise AssertionError("the operator still has something to do")

        async def a_second_begins() -> bool:
            await connection.find(api.JOB, world.namespace, "nobody")
            return len(dates) > 1

        await until("the next second of the API server, whose times are cut to seconds", a_second_begins)
        startup = {"schedulingSeconds": 600, "imageSeconds": 600, "firstStepSeconds": 600}
        assert await live(world, drive, activeDeadlineSeconds=3600, startupPolicy=startup) == EXPECTED
    trial(Row("clock of the operator set by up to 12 h", "API server", wall.steps, end="Succeeded"))


@pytest.mark.parametrize("seed", SEEDS)
async def test_answers_that_are_refused_lost_or_late_change_nothing(
    world: World, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, trial: Trial, seed: int
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(proxy.kubeconfig))
    proxy.policy = Storm(seed, share=0.15)
    async with api.connect() as connection:
        controller = world.controller(connection)

        async def drive() -> None:
            """As the queue does, without its pauses: an error is come back from."""
            for _ in range(200):
                try:
                    if (await controller.reconcile(world.key)).requeue_after != 0.0:
                        return
                except ApiError:
                    continue
            raise AssertionError("no pass got through")

        assert await live(world, drive) == EXPECTED
    assert len(proxy.done) >= 20
    kinds = sorted({str(getattr(action, "status", type(action).__name__)) for _, action in proxy.done})
    trial(Row(f"answers of the API server: {', '.join(kinds)}", "API server", len(proxy.done), end="Succeeded"))


async def test_watches_that_are_cut_and_an_api_server_that_is_killed_hide_nothing(
    world: World, operators: Any, proxy: FaultProxy, trial: Trial
) -> None:
    def start() -> Operator:
        return cast("Operator", operators("one", KUBECONFIG=str(proxy.kubeconfig)))

    running = [start()]
    await running[0].leads()

    async def pods(job: str, but: str = "") -> list[str]:
        """A process that ends by itself, because it was blind, is started again as the kubelet would."""
        if running[-1].process.poll() == 1:
            running.append(start())
        return await _pods(world, job, but)

    cut, seconds = 0, []
    for number in range(3 * len(SEEDS)):
        job = f"{JOB}-{number}"
        world.apply(manifest(job))
        first = await until(f"the pods of {job}", lambda job=job: pods(job))
        cut += proxy.cut_watches()
        world.kubectl("delete", "pod", f"{job}-0-1", "--grace-period=0", "--force")
        if number % 3 == 2:
            world.plane.stop_component("kube-apiserver")
            world.plane.start_component("kube-apiserver")
        since = time.monotonic()
        await until(f"the other pod of {job}", lambda job=job, but=first[1]: pods(job, but))
        seconds.append(time.monotonic() - since)
    assert cut > 0
    assert running[-1].process.poll() in (None, 1), running[-1].log.read_text()
    trial(Row("watches cut, API server killed", "API server", 3 * len(SEEDS), seconds=seconds, end="pod replaced"))


async def _pods(world: World, job: str, but: str) -> list[str]:
    """UIDs of both pods of a job by index, none of which is `but`; nothing where they are not there yet."""
    found = {
        pod["metadata"]["name"]: pod["metadata"]["uid"]
        for pod in await world.pods()
        if pod["metadata"]["name"].startswith(f"{job}-0-") and "deletionTimestamp" not in pod["metadata"]
    }
    uids = [uid for _, uid in sorted(found.items())]
    return uids if len(uids) == 2 and but not in uids else []
