"""O7 and O8: many live jobs; the operator is killed and comes back, and then nothing happens."""

from __future__ import annotations

import asyncio
import time

import shapes
from reports import Reports
from results import Results
from servers import until
from subjects import running
from work import Field
from writes import written


async def restarted(field: Field, results: Results, jobs: int) -> None:
    """SIGKILL, one pod deleted while nobody looks; seconds until a new process has replaced it."""
    namespace = await field.namespace()
    async with running("ours", field.servers) as first:
        await field.submit("ours", namespace, jobs, 1)
        await field.created(namespace, jobs)
        await _settled(field, namespace, jobs)
        results.add(f"MB with {jobs} jobs", "ours", first.megabytes)
        before = await _children(field, namespace)
        first.process.kill()
        first.process.wait()
        victim = f"/api/v1/namespaces/{namespace}/pods/j{jobs // 2}-0-0"
        await field.servers.call("DELETE", victim, {"gracePeriodSeconds": 0})
    began = time.monotonic()
    async with running("ours", field.servers):

        async def replaced() -> bool:
            return await field.servers.count(shapes.PODS.format(namespace)) == jobs

        await until("the missing pod", replaced, 60, 0.05)
        results.add(f"restart with {jobs} jobs", "ours", time.monotonic() - began)
        await asyncio.sleep(10)
        after = await _children(field, namespace)
    changed = [name for name, uid in after.items() if before.get(name) != uid]
    results.say(
        case=f"restart with {jobs} jobs", seconds=round(results.values(f"restart with {jobs} jobs", "ours")[-1], 1),
        children=len(after), before=len(before), changed=len(changed), expected_changed=1,
        met=len(after) == len(before) and len(changed) == 1,
    )  # fmt: skip
    await field.clear("ours", namespace)


async def idle(field: Field, results: Results, reports: Reports, jobs: int, seconds: float) -> None:
    """CPU seconds and requests a minute while all jobs stand still."""
    namespace = await field.namespace()
    async with running("ours", field.servers) as subject:
        await field.submit("ours", namespace, jobs, 1)
        await field.created(namespace, jobs)
        await _settled(field, namespace, jobs)
        await asyncio.sleep(30)  # what is spaced out was written
        before, asked = sum(written(field.servers.audit_log, namespace).values()), reports.asked
        used, began = subject.seconds, time.monotonic()
        await asyncio.sleep(seconds)
        minutes = (time.monotonic() - began) / 60
        cpu = (subject.seconds - used) / minutes
        await asyncio.sleep(2)
        added = sum(written(field.servers.audit_log, namespace).values()) - before
        results.say(
            case=f"idle with {jobs} jobs", cpu_s_per_minute=round(cpu, 3), writes=added,
            looks_per_minute=round((reports.asked - asked) / minutes), MB=round(subject.megabytes),
            bar="< 0.5 s a minute, no write", met=cpu < 0.5 and added == 0,
        )  # fmt: skip
        await field.clear("ours", namespace)


async def _settled(field: Field, namespace: str, jobs: int) -> None:
    """Every job says that all its pods are up."""

    async def told() -> bool:
        listed = await field.servers.call("GET", shapes.OURS.format(namespace))
        return sum(one.get("status", {}).get("readyNodes") == 1 for one in listed["items"]) == jobs

    await until("every job to say so", told, 300, 1.0)


async def _children(field: Field, namespace: str) -> dict[str, str]:
    found = {}
    for kind in ("pods", "services", "configmaps"):
        listed = await field.servers.call("GET", f"/api/v1/namespaces/{namespace}/{kind}")
        found |= {f"{kind}/{one['metadata']['name']}": one["metadata"]["uid"] for one in listed["items"]}
    return found
