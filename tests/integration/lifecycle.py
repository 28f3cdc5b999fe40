"""A job's whole life, step by step: what happens to it is written here, who drives the operator between is given.

Each driver must lead to the same end as an undisturbed operator: the same ledger, the same counts, the same children.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from neuron_api import contract
from neuron_api.resource.progress import ProcessFailure, Recovery, TrainerPhase
from neuron_operator.kube import gateway as api

from .world import JOB, World, manifest, utc

Drive = Callable[[], Awaitable[None]]
"""Runs the operator until nothing is left to do."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What must not depend on what happened to the operator."""

    phase: str
    attempt: int
    restarts: int
    gang_failures: int
    steps_lost: int
    ledger: tuple[tuple[str, str, int | None, int | None, int | None], ...]
    """Rung, cause, step, steps lost, step resumed from."""
    children: tuple[str, ...]


async def live(world: World, drive: Drive, **spec: Any) -> Outcome:
    """A pod is deleted, one fails, a rank is killed, the job is suspended and resumed, and succeeds."""
    job = manifest()
    job["spec"] |= spec
    world.apply(job)
    await drive()
    await _train(world, drive, 20)
    _remove(world, f"{JOB}-0-1")
    await drive()
    await _train(world, drive, 25, round=1, recoveries=_recovered(1, from_step=20))
    await world.end(f"{JOB}-0-1", 1, "RuntimeError: boom")
    await drive()
    await _gone(world, drive, attempt=0)
    await _train(world, drive, 30, recoveries=_recovered(0, from_step=25))
    killed = ProcessFailure(time=utc(), round=0, rank=3, local_rank=1, exit_code=-9, step=31)
    await world.report(31, phase=TrainerPhase.RENDEZVOUS, round=1, failures=(killed,))
    await drive()
    await _train(world, drive, 35, round=1, failures=(killed,), recoveries=_recovered(1, from_step=30))
    await _suspend(world, drive, is_set=True)
    await _gone(world, drive, attempt=1)
    await _suspend(world, drive, is_set=False)
    await _train(world, drive, 40, recoveries=_recovered(0, from_step=35, lost=0))
    for name in await world.pod_names():
        await world.end(name, 0)
    await drive()
    return await outcome(world)


async def outcome(world: World) -> Outcome:
    """As the API server has it now."""
    status = (await world.job()).status
    return Outcome(
        phase=status.phase.value,
        attempt=status.attempt,
        restarts=status.restart_count,
        gang_failures=status.gang_failures,
        steps_lost=status.steps_lost,
        ledger=tuple(
            (line.restart_scope.value, line.cause.value, line.step, line.steps_lost, line.resumed_from_step)
            for line in status.restarts
        ),
        children=tuple(sorted((await inventory(world)).elements())),
    )


async def inventory(world: World) -> Counter[str]:
    """All children that are not going, by kind and name."""
    kinds = {"pod": api.POD, "service": api.SERVICE, "configmap": api.CONFIG_MAP}
    found: Counter[str] = Counter()
    for name, kind in kinds.items():
        for body in await world.cluster.list(kind, world.namespace, contract.LABEL_JOB):
            if "deletionTimestamp" not in body["metadata"]:
                found[f"{name}/{body['metadata']['name']}"] += 1
    return found


async def events(world: World) -> Counter[str]:
    """Reasons of the job's Events, and how often each was told."""
    return Counter(str(body["reason"]) for body in await world.cluster.list(api.EVENT, world.namespace))


async def _train(world: World, drive: Drive, step: int, **report: Any) -> None:
    """All pods run, and pod 0 reports a step."""
    await world.run_all()
    await drive()
    await world.report(step, **report)
    await drive()


async def _gone(world: World, drive: Drive, attempt: int) -> None:
    """The kubelet's part of a graceful deletion."""
    for name in await world.pod_names():
        if name.startswith(f"{JOB}-{attempt}-"):
            _remove(world, name)
    await drive()


def _remove(world: World, name: str) -> None:
    world.kubectl("delete", "pod", name, "--grace-period=0", "--force", "--ignore-not-found")


async def _suspend(world: World, drive: Drive, *, is_set: bool) -> None:
    patch = f'{{"spec": {{"suspend": {str(is_set).lower()}, "suspendPolicy": {{"checkpointWaitSeconds": 0}}}}}}'
    world.kubectl("patch", "ntj", JOB, "--type=merge", "--patch", patch)
    await drive()


def _recovered(round: int, *, from_step: int, lost: int = 1) -> tuple[Recovery, ...]:
    """The trainer's own account of a start: its first step comes after what the operator has written about the failure
    and before the next one."""
    return (Recovery(round=round, resumed_from_step=from_step, steps_lost=lost, first_step_time=utc()),)
