"""Jobs that live without nodes, for operators that are processes of any release: the test runs their pods, and a server
of the test answers `GET /progress` for their launchers. Statuses are read as JSON: releases differ in their fields.
"""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from aiohttp import web

from bounds import BOUND
from neuron_api import contract
from neuron_api.resource.progress import CheckpointReport, Progress, Recovery, TrainerPhase
from neuron_operator.kube import gateway as api

from .world import Json, World, manifest, until, utc

FOLDER = count(1)
"""One address for each job of a session: `127.77.<n>`."""


class Launchers:
    """What the launcher of pod 0 of each job answers, by its address."""

    def __init__(self) -> None:
        self.reports: dict[str, Progress] = {}

    async def answer(self, request: web.Request) -> web.Response:
        """The report of the pod that was asked."""
        address = (request.host or "").partition(":")[0]
        if (report := self.reports.get(address)) is None:
            return web.Response(status=503)
        return web.Response(text=report.model_dump_json(), content_type="application/json")


@contextmanager
def launchers(jobs: int) -> Iterator[tuple[Launchers, list[str]]]:
    """Answer at as many addresses of the loopback network, in a thread: tests wait for kubectl and the like."""
    made, addresses = Launchers(), [f"127.77.{number // 250}.{number % 250 + 1}" for number in _numbers(jobs)]
    ready, stop, loop = threading.Event(), asyncio.Event(), asyncio.new_event_loop()

    async def serve() -> None:
        application = web.Application()
        application.router.add_get(contract.PROGRESS_PATH, made.answer)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        try:
            for address in addresses:
                await web.TCPSite(runner, address, contract.PROGRESS_PORT).start()
            ready.set()
            await stop.wait()
        finally:
            await runner.cleanup()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(BOUND)
        yield made, addresses
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def _numbers(jobs: int) -> list[int]:
    return [next(FOLDER) for _ in range(jobs)]


class LiveJob:
    """A job of two pods."""

    def __init__(self, world: World, name: str, launchers: Launchers, address: str) -> None:
        self.world, self.name, self.launchers, self.address = world, name, launchers, address

    def apply(self) -> None:
        self.world.apply(manifest(self.name))

    async def body(self) -> Json:
        return dict(await self.world.cluster.get(api.JOB, self.world.namespace, self.name))

    async def status(self) -> Json:
        return dict((await self.body()).get("status", {}))

    async def pods(self) -> dict[str, Json]:
        """Pods that are not going, by name."""
        selector = f"{contract.LABEL_JOB}={self.name}"
        listed = await self.world.cluster.list(api.POD, self.world.namespace, selector)
        here = [pod for pod in listed if "deletionTimestamp" not in pod["metadata"]]
        return {pod["metadata"]["name"]: pod for pod in sorted(here, key=lambda pod: str(pod["metadata"]["name"]))}

    async def uids(self) -> dict[str, str]:
        return {name: pod["metadata"]["uid"] for name, pod in (await self.pods()).items()}

    async def run(self) -> None:
        """Wait for both pods, and let them run."""

        async def both() -> dict[str, Json] | None:
            pods = await self.pods()
            return pods if len(pods) == 2 else None

        for name in await until(f"two pods of {self.name}", both):
            await self.world.run(name, self.address)

    async def report(self, step: int, *, round: int = 0, resumed_from: int | None = None) -> None:
        """Pod 0 says that it has finished a step, and the operator writes it down."""
        await self.tell(step, round=round, resumed_from=resumed_from)

        async def stored() -> bool:
            return bool((await self.status()).get("progress", {}).get("step") == step)

        await until(f"step {step} of {self.name}", stored)

    async def tell(self, step: int, *, round: int = 0, resumed_from: int | None = None) -> None:
        """Pod 0 says from now on that it has finished a step."""
        (host, *_) = (await self.pods()).values()
        resumed = Recovery(round=round, resumed_from_step=resumed_from or 0, steps_lost=0, first_step_time=utc())
        self.launchers.reports[self.address] = Progress(
            pod_uid=host["metadata"]["uid"],
            attempt=int(host["metadata"]["labels"][contract.LABEL_ATTEMPT]),
            phase=TrainerPhase.TRAINING,
            step=step,
            round=round,
            loss=4.0 - step / 100,
            max_steps=240,
            last_step_time=utc(),
            start_time=utc(),
            checkpoint=CheckpointReport(step=step, path=f"/training/{step}.ckpt", time=utc()),
            recoveries=(resumed,) if resumed_from is not None else (),
        )

    async def lose_a_pod(self) -> None:
        """The second one, at once."""
        name = list(await self.pods())[1]
        self.world.kubectl("delete", "pod", name, "--grace-period=0", "--force")

    async def notes(self, reason: str) -> list[str]:
        """Texts of the job's events."""
        events = await self.world.cluster.list(api.EVENT, self.world.namespace)
        return [
            str(event["note"])
            for event in events
            if event["reason"] == reason and event["regarding"]["name"] == self.name
        ]


def counters(status: Json) -> dict[str, Any]:
    """Return what budgets are counted by."""
    return {name: status.get(name) for name in ("attempt", "restartCount", "gangFailures", "stepsLost", "startTime")}
