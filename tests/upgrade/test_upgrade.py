"""`helm upgrade` and `helm rollback` with 50 live jobs: every pod runs on, every job goes on.

From the commit before fields of the status were renamed to today, by the chart's page (the definition first), with
another trainer image in the values; back with `helm rollback` alone; and to today again.
"""

import asyncio
from collections.abc import Iterator

import pytest

from integration.earlier_release import TODAY, Release
from integration.live_jobs import LiveJob, counters, launchers
from integration.world import Json, World, manifest, until
from neuron_operator.kube import gateway as api

from .deployed_operator import RELEASE, DeployedOperator

JOBS = 50
VALUES = (
    "image.repository=registry.example/neuron-operator",
    "trainerImages.cpu.repository=registry.example/neuron-trainer",
    "pollSeconds=1",
    "statusSeconds=1",
)


@pytest.fixture
def jobs(world: World) -> Iterator[list[LiveJob]]:
    with launchers(JOBS) as (answers, addresses):
        yield [LiveJob(world, f"job-{number:02}", answers, address) for number, address in enumerate(addresses)]


def setting(values: tuple[str, ...]) -> list[str]:
    return [part for value in values for part in ("--set", value)]


async def pods(jobs: list[LiveJob]) -> list[dict[str, str]]:
    return list(await asyncio.gather(*(job.uids() for job in jobs)))


async def counted(jobs: list[LiveJob]) -> list[Json]:
    return [counters(status) for status in await asyncio.gather(*(job.status() for job in jobs))]


async def trained(world: World, jobs: list[LiveJob], step: int) -> None:
    """Every job finishes a step, and the operator writes it down."""
    await asyncio.gather(*(job.tell(step) for job in jobs))

    async def stored() -> bool:
        bodies = await world.cluster.list(api.JOB, world.namespace)
        steps = [body.get("status", {}).get("progress", {}).get("step") for body in bodies]
        return steps == [step] * len(jobs)

    await until(f"step {step} of every job", stored, bound=600)


async def restarted(job: LiveJob, number: int) -> Json:
    """The job loses a pod and has it again."""
    before = await job.uids()
    await job.lose_a_pod()

    async def replaced() -> bool:
        after = await job.uids()
        return len(after) == 2 and after != before

    await until(f"another pod of {job.name}", replaced)
    await job.run()
    status = await job.status()
    assert status["restartCount"] == number
    return status


async def test_fifty_live_jobs_do_not_notice_an_upgrade_a_roll_back_and_the_upgrade_after_it(
    world: World, operator: DeployedOperator, jobs: list[LiveJob], earlier: Release
) -> None:
    operator.helm("install", RELEASE, earlier.chart, *setting(VALUES))
    await operator.roll_out(earlier)
    items = [manifest(job.name) for job in jobs]
    world.kubectl("apply", "-f", "-", stdin={"apiVersion": "v1", "kind": "List", "items": items})
    await asyncio.gather(*(job.run() for job in jobs))
    await trained(world, jobs, 10)
    (line,) = (await restarted(jobs[7], 1))["restarts"]
    assert line["rung"] == "Pod"
    running, counts = await pods(jobs), await counted(jobs)

    world.plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", TODAY.chart / "crds")
    another_image = setting(("trainerImages.cpu.tag=2",))
    operator.helm("upgrade", RELEASE, TODAY.chart, "--reset-then-reuse-values", *another_image)
    await operator.roll_out(TODAY)
    await trained(world, jobs, 20)
    assert await pods(jobs) == running
    assert await counted(jobs) == counts
    (after,) = (await jobs[7].status())["restarts"]
    assert (after["restartScope"], after["time"]) == ("Pod", line["time"])

    operator.helm("rollback", RELEASE)
    await operator.roll_out(earlier)
    await trained(world, jobs, 30)
    assert await pods(jobs) == running
    assert await counted(jobs) == counts
    await restarted(jobs[8], 1)
    running, counts = await pods(jobs), await counted(jobs)

    operator.helm("upgrade", RELEASE, TODAY.chart, "--reset-then-reuse-values", *another_image)
    await operator.roll_out(TODAY)
    await trained(world, jobs, 40)
    assert await pods(jobs) == running
    assert await counted(jobs) == counts
    await restarted(jobs[9], 1)
    phases = {status["phase"] for status in await asyncio.gather(*(job.status() for job in jobs))}
    assert phases <= {"Running", "Restarting"}
    assert "Traceback" not in operator.log.read_text()
