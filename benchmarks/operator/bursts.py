"""O1, O2, O4, O5: bursts of jobs, created and Running, with CPU time and memory."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from results import Results
from servers import until
from subjects import Subject, cpu_seconds, running
from work import Field, Running

Shape = tuple[int, int]
"""Jobs, and pods of each."""
MANY = 4000
"""Pods from which on memory is looked at (O5)."""


async def created(field: Field, results: Results, who: str, shapes: Sequence[Shape]) -> None:
    """Seconds until all pods are there, no kubelet running: one round of every shape for one subject."""
    if who in ("floor", "limit"):
        for shape in shapes:
            await _created(field, results, who, shape, None)
        return
    async with running(who, field.servers) as subject:
        await warm(field, who)
        results.add("MB with 0 pods", who, subject.megabytes)
        for shape in shapes:
            before = subject.seconds
            await _created(field, results, who, shape, subject)
            results.add(
                f"create CPU/1000 pods {_name(shape)}", who, (subject.seconds - before) * 1000 / (shape[0] * shape[1])
            )


async def _created(field: Field, results: Results, who: str, shape: Shape, subject: Subject | None) -> None:
    namespace = await field.namespace()
    results.add(f"created {_name(shape)}", who, await field.burst(who, namespace, *shape))
    if subject and shape[0] * shape[1] >= MANY:
        results.add(f"MB with {shape[0] * shape[1]} live pods", who, subject.megabytes)
    await field.clear(who, namespace)


async def warm(field: Field, who: str) -> None:
    """One job, so that connections are open and the kind's storage is there."""
    namespace = await field.namespace()
    await field.burst(who, namespace, 1, 2)
    await field.clear(who, namespace)


async def to_running(field: Field, results: Results, who: str, shape: Shape) -> None:
    """Seconds, and CPU time of the operator and of the servers, until all pods run (the fake kubelet is up)."""
    if who == "floor":
        await _to_running(field, results, who, shape, None)
        return
    async with running(who, field.servers) as subject:
        await warm(field, who)
        await _to_running(field, results, who, shape, subject)


async def _to_running(field: Field, results: Results, who: str, shape: Shape, subject: Subject | None) -> None:
    namespace, wanted = await field.namespace(), shape[0] * shape[1]
    seen = Running(field.servers, namespace)
    watching = asyncio.create_task(seen.watch())
    await asyncio.sleep(0.5)
    servers, own = cpu_seconds(field.servers.pids()), subject.seconds if subject else 0.0
    began = asyncio.get_running_loop().time()

    async def all_run() -> bool:
        return len(seen.names) >= wanted

    try:
        await field.burst(who, namespace, *shape)
        await until(f"{wanted} Running pods", all_run, 120 + wanted / 20)
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    took = asyncio.get_running_loop().time() - began
    await asyncio.sleep(2)  # what is still to be written about it belongs to it
    name, per = _name(shape), 1000 / wanted
    results.add(f"Running {name}", who, took)
    results.add(f"server CPU/1000 pods {name}", who, (cpu_seconds(field.servers.pids()) - servers) * per)
    if subject:
        results.add(f"CPU/1000 pods {name}", who, (subject.seconds - own) * per)
        results.add(f"MB with {wanted} pods", who, subject.megabytes)
    await field.clear(who, namespace)


def _name(shape: Shape) -> str:
    return f"{shape[0]}x{shape[1]}"
