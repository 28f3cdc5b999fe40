"""O6: a pod fails, or a whole gang: how long until its successor is there, and whether any failure is missed."""

from __future__ import annotations

import asyncio
import json
import time

import shapes
from results import Results
from servers import until
from shapes import Json
from subjects import running
from work import Field

FAILED = {
    "phase": "Failed",
    "conditions": [{"type": "Ready", "status": "False"}],
}


async def single(field: Field, results: Results, who: str, times: int) -> None:
    """One pod after the other ends with exit code 137; milliseconds until another pod has its name.

    Twice per job: a third failure without a step in between waits on purpose.
    """
    jobs = max(1, times // 2)
    async with running(who, field.servers):
        namespace = await field.namespace()
        await field.submit(who, namespace, jobs, 2)
        await field.created(namespace, jobs * 2)
        await _all_run(field, namespace, jobs * 2)
        await asyncio.sleep(2)
        names = sorted(name for name in await _pods(field, namespace) if name.endswith("-1") or "worker" in name)
        missed, found = 0, []
        for number in range(times):
            name = names[number % len(names)]
            try:
                found.append(await _replace(field, namespace, name, who))
            except RuntimeError as error:
                missed += 1
                await _tell(field, namespace, name, who, str(error))
        for one in found:
            results.add("replacement ms", who, one)
        found.sort()
        results.say(
            case=f"replacement {who}", p50_ms=round(found[len(found) // 2], 1),
            p99_ms=round(found[int(len(found) * 0.99)], 1),
            max_ms=round(found[-1], 1), missed=missed, times=times,
        )  # fmt: skip
        await field.clear(who, namespace)


async def _tell(field: Field, namespace: str, name: str, who: str, error: str) -> None:
    """What is known about a failure that found no successor in time."""
    path = (shapes.OURS if who == "ours" else shapes.THEIRS).format(namespace)
    job = await field.servers.call("GET", f"{path}/{name.partition('-')[0]}")
    print(json.dumps({"missed": error, "pods": await _pods(field, namespace, name), "status": job.get("status")}))


async def gang(field: Field, results: Results, pods: int) -> None:
    """Rank 0's pod fails for good (a code of the user's): all pods of the attempt go, all of the next one come."""
    async with running("ours", field.servers):
        namespace = await field.namespace()
        body = shapes.job("gang", pods)
        await field.servers.call("POST", shapes.OURS.format(namespace), body)
        await field.created(namespace, pods)
        await _all_run(field, namespace, pods)
        await asyncio.sleep(2)
        old = set((await _pods(field, namespace)).values())
        began = time.monotonic()
        await _fail(field, namespace, next(iter(sorted(await _pods(field, namespace)))), evicted=False)

        async def renewed() -> bool:
            now = set((await _pods(field, namespace)).values())
            return len(now) == pods and not now & old

        await until("the next attempt", renewed, 120, 0.02)
        results.add(f"gang restart of {pods}", "ours", time.monotonic() - began)
        await field.clear("ours", namespace)


async def _replace(field: Field, namespace: str, name: str, who: str) -> float:
    before = (await _pods(field, namespace, name))[name]
    began = time.monotonic()
    await _fail(field, namespace, name, who)

    async def another() -> bool:
        return (await _pods(field, namespace, name)).get(name, before) != before

    await until(f"another {name}", another, 10, 0.002)
    took = (time.monotonic() - began) * 1000

    async def runs() -> bool:
        one = await field.servers.call("GET", f"{shapes.PODS.format(namespace)}/{name}")
        return bool(one.get("status", {}).get("phase") == "Running")

    await until(f"{name} to run", runs, 30, 0.02)
    return took


async def _fail(field: Field, namespace: str, name: str, who: str = "ours", *, evicted: bool = True) -> None:
    """Evicted: the pod alone is replaced; an error of its own: the gang begins again."""
    path = f"{shapes.PODS.format(namespace)}/{name}/status"
    container = "trainer" if who == "ours" else "pytorch"
    ended = {"terminated": {"exitCode": 137 if evicted else 1, "reason": "Error", "finishedAt": "2026-01-01T00:00:00Z"}}
    status = FAILED | {
        **({"reason": "Evicted", "message": "by the benchmark"} if evicted else {}),
        "containerStatuses": [{"name": container, "image": shapes.IMAGE, "imageID": "", "ready": False,
                               "restartCount": 0, "state": ended}],
    }  # fmt: skip
    await field.servers.call("PATCH", path, {"status": status}, "application/merge-patch+json")


async def _pods(field: Field, namespace: str, name: str = "") -> dict[str, str]:
    """Name to UID."""
    path = f"{shapes.PODS.format(namespace)}?" + (f"fieldSelector=metadata.name%3D{name}" if name else "")
    items: list[Json] = (await field.servers.call("GET", path))["items"]
    return {
        one["metadata"]["name"]: one["metadata"]["uid"] for one in items if "deletionTimestamp" not in one["metadata"]
    }


async def _all_run(field: Field, namespace: str, wanted: int) -> None:
    path = f"{shapes.PODS.format(namespace)}?fieldSelector=status.phase%3DRunning"

    async def enough() -> bool:
        return len((await field.servers.call("GET", path))["items"]) >= wanted

    await until("all pods to run", enough, 300, 0.2)
