"""A burst of jobs in a namespace of its own, carried out by one of the subjects or by the bare client, and timed."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import shapes
from servers import Servers, until
from shapes import Json

_numbers = itertools.count()
_ENDLESS = aiohttp.ClientTimeout(total=None)


@dataclass
class Field:
    """Where bursts are done."""

    servers: Servers
    floor: Path
    pod: Json
    """One of our pods, as it is sent."""
    written: shapes.Written | None = None

    async def namespace(self) -> str:
        """A fresh one with the claim."""
        name = f"bench-{next(_numbers)}"
        await self.servers.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        await self.servers.call("POST", f"/api/v1/namespaces/{name}/persistentvolumeclaims", shapes.CLAIM)
        return name

    async def post(self, lines: str) -> float:
        """Send bodies as fast as can be; the seconds it took."""
        process = await asyncio.create_subprocess_exec(
            self.floor, *self.servers.identity, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        said, _ = await process.communicate(lines.encode())
        if process.returncode:
            raise RuntimeError("the bare client failed, see above")
        return float(said)

    async def burst(self, who: str, namespace: str, jobs: int, each: int) -> float:
        """Seconds from the first job's POST until all pods are there; for `floor`, until all pods are posted.

        `limit` is the bare client with all that our operator writes. No strict bound: the jobs go first, and a status
        is merged (PATCH) where the operator replaces it (PUT), which is cheaper.
        """
        pods = shapes.lines(shapes.PODS.format(namespace), shapes.pods(jobs, each, self.pod))
        if who == "floor":
            return await self.post(pods)
        if who == "limit":
            assert self.written is not None
            began = time.monotonic()
            await self.submit("ours", namespace, jobs, each)
            await self.post(self.written.lines(namespace, [f"j{number}" for number in range(jobs)]) + pods)
            return time.monotonic() - began
        began = time.monotonic()
        await self.submit(who, namespace, jobs, each)
        await self.created(namespace, jobs * each)
        return time.monotonic() - began

    async def learn(self) -> None:
        """What our operator, which runs, sends for a job."""
        namespace, name = await self.namespace(), "the-job"
        await self.servers.call("POST", shapes.OURS.format(namespace), shapes.job(name, 8))
        await self.created(namespace, 8)
        self.pod = shapes.bare((await self._items(shapes.PODS, namespace))[0])

        async def beside() -> list[tuple[str, Json]]:
            found = [(path, one) for path in shapes.BESIDE_PODS for one in await self._items(path, namespace)]
            mine = [(path, shapes.bare(one)) for path, one in found if name in one["metadata"]["name"]]
            return mine if len(mine) == len(shapes.BESIDE_PODS) else []

        others = await until("the event", beside, 30)
        job = await self.servers.call("GET", f"{shapes.OURS.format(namespace)}/{name}")
        self.written = shapes.Written(name, job["status"], others)
        await self.clear("ours", namespace)

    async def _items(self, path: str, namespace: str) -> list[Json]:
        page = await self.servers.call("GET", path.format(namespace))
        kind = page["kind"].removesuffix("List")
        return [{"apiVersion": page["apiVersion"], "kind": kind, **one} for one in page["items"]]

    async def submit(self, who: str, namespace: str, jobs: int, each: int, prefix: str = "j") -> None:
        """The jobs alone."""
        names = [f"{prefix}{number}" for number in range(jobs)]
        if who == "ours":
            bodies: Any = (shapes.job(name, each) for name in names)
            await self.post(shapes.lines(shapes.OURS.format(namespace), bodies))
        else:
            bodies = (shapes.pytorch_job(name, each, self.pod) for name in names)
            await self.post(shapes.lines(shapes.THEIRS.format(namespace), bodies))

    async def created(self, namespace: str, wanted: int) -> None:
        """Wait until so many pods are there."""
        path, bound = shapes.PODS.format(namespace), 60 + wanted / 5

        async def there() -> bool:
            return await self.servers.count(path) >= wanted

        await until(f"{wanted} pods in {namespace}", there, bound, 0.005 if wanted < 100 else 0.03)

    async def clear(self, who: str, namespace: str) -> None:
        """Remove jobs and pods, and wait until they are gone."""
        if who != "floor":
            path = (shapes.OURS if who in ("ours", "limit") else shapes.THEIRS).format(namespace)
            await self.servers.call("DELETE", path, {"propagationPolicy": "Background"})
        path = shapes.PODS.format(namespace)

        async def empty() -> bool:
            await self.servers.call("DELETE", path, {"gracePeriodSeconds": 0})
            return await self.servers.count(path) == 0

        await until(f"{namespace} to be empty", empty, 300, 0.5)


class Running:
    """Counts pods that have become Running, by a watch that goes on by itself when the server cuts it."""

    def __init__(self, servers: Servers, namespace: str) -> None:
        self._servers, self._path = servers, shapes.PODS.format(namespace)
        self.names: dict[str, float] = {}
        """UID to the moment that it was seen."""
        self.cuts = 0

    async def watch(self) -> None:
        """For ever."""
        url = f"{self._servers.plane.url}{self._path}"
        while True:
            page = await self._servers.call("GET", f"{self._path}?fieldSelector=status.phase%3DRunning")
            for one in page["items"]:
                self.names.setdefault(one["metadata"]["uid"], time.monotonic())
            version = page["metadata"]["resourceVersion"]
            query = {"watch": "true", "fieldSelector": "status.phase=Running", "resourceVersion": version}
            try:
                async with self._servers.session.get(url, params=query, timeout=_ENDLESS) as answer:
                    async for line in answer.content:
                        event = json.loads(line)
                        if event["type"] in ("ADDED", "MODIFIED"):
                            self.names.setdefault(event["object"]["metadata"]["uid"], time.monotonic())
                        elif event["type"] == "ERROR":
                            break
            except (aiohttp.ClientError, TimeoutError, OSError):
                pass
            self.cuts += 1
