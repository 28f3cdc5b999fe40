"""Operators of two releases in turn on a live job, as processes, each on the other's definition.

The kind: an upgrade or a roll-back in which operator and CustomResourceDefinition are of different releases for a
while. Looked at: pods, counters and ledger of a job that trains and has restarted, a failure in the meantime, and where
people are told. Rung by rung with the commit before fields of the status were renamed.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .earlier_release import BEFORE_THE_RENAMES, TODAY, Release, checkout, serve
from .live_jobs import LiveJob, counters, launchers
from .operators import Operator
from .world import JOB, World, until

REMEDY = "Apply the CRD of the operator's release"


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return checkout(BEFORE_THE_RENAMES, tmp_path_factory.mktemp("earlier"))


@pytest.fixture
def job(world: World) -> Iterator[LiveJob]:
    with launchers(1) as (answers, (address,)):
        made = LiveJob(world, JOB, answers, address)
        made.apply()
        yield made
        serve(world, TODAY)


async def started(operators: Any, name: str, release: Release) -> Operator:
    one: Operator = operators(name, **release.variables)
    await one.leads()
    return one


async def ended(operator: Operator) -> None:
    operator.process.terminate()
    assert await operator.ended(60) == 0, operator.log.read_text()


async def trained(job: LiveJob) -> dict[str, str]:
    """The job has run to step 20, lost a pod, and runs again at step 24."""
    await job.run()
    await job.report(20)
    await job.lose_a_pod()
    await job.run()
    await job.report(24, round=1, resumed_from=20)
    return await job.uids()


async def restarts(job: LiveJob, number: int) -> dict[str, Any]:
    async def counted() -> dict[str, Any] | None:
        status = await job.status()
        return status if status.get("restartCount") == number else None

    return await until(f"restart {number}", counted)


async def refusal(job: LiveJob) -> list[str]:
    return await until("the event StatusRefused", lambda: job.notes("StatusRefused"))


async def test_an_operator_before_its_definition_keeps_the_job_says_what_to_do_and_reads_former_fields(
    world: World, operators: Any, job: LiveJob, earlier: Release
) -> None:
    serve(world, earlier)
    old = await started(operators, "old", earlier)
    pods = await trained(job)
    before = await job.status()
    assert [line["rung"] for line in before["restarts"]] == ["Pod"]
    await ended(old)

    new = await started(operators, "new", TODAY)
    await job.tell(28, round=1)  # It is not stored: lines of the ledger would lack what that definition requires.
    assert any(REMEDY in note for note in await refusal(job))
    assert new.said(REMEDY)
    status, text = new.get("/readyz")
    assert status == 200
    assert text.startswith("ok\n")
    assert REMEDY in text
    assert f"{world.namespace}/{JOB}" in text
    assert await job.uids() == pods
    assert counters(await job.status()) == counters(before)

    serve(world, TODAY)
    await job.lose_a_pod()
    await job.run()
    after = await restarts(job, 2)
    assert [line["restartScope"] for line in after["restarts"]] == ["Pod", "Pod"]
    assert [line["time"] for line in after["restarts"]][:1] == [before["restarts"][0]["time"]]
    assert "nodesReady" not in after
    await job.report(32, round=2, resumed_from=28)
    await until("/readyz without a warning", lambda: ready(new))


async def ready(operator: Operator) -> bool:
    return operator.get("/readyz") == (200, "ok\n")


async def test_an_operator_that_is_rolled_back_keeps_the_job_and_restarts_it(
    world: World, operators: Any, job: LiveJob, earlier: Release
) -> None:
    new = await started(operators, "new", TODAY)
    pods = await trained(job)
    before = await job.status()
    await ended(new)

    old = await started(operators, "old", earlier)
    await job.report(28, round=1)
    assert any(REMEDY in note for note in await refusal(job))
    assert old.said(REMEDY)
    assert await job.uids() == pods
    assert counters(await job.status()) == counters(before)
    await job.lose_a_pod()
    await job.run()
    await restarts(job, 2)
    await job.report(32, round=2, resumed_from=28)
    pods = await job.uids()
    await ended(old)

    again = await started(operators, "again", TODAY)
    await job.report(36, round=2)
    after = await job.status()
    assert await job.uids() == pods
    assert counters(after) == counters(before) | {"restartCount": 2}
    assert [line["restartScope"] for line in after["restarts"]][-1:] == ["Pod"]
    assert await ready(again)


async def test_with_its_own_definition_a_rolled_back_operator_goes_on(
    world: World, operators: Any, job: LiveJob, earlier: Release
) -> None:
    new = await started(operators, "new", TODAY)
    pods = await trained(job)
    before = await job.status()
    await ended(new)

    serve(world, earlier)
    await started(operators, "old", earlier)
    await job.report(28, round=1)
    assert await job.uids() == pods
    assert counters(await job.status()) == counters(before)
    await job.lose_a_pod()
    await job.run()
    after = await restarts(job, 2)
    assert after["phase"] in ("Restarting", "Running", "Starting")


def test_the_commit_is_the_one_before_the_renames(earlier: Release) -> None:
    assert "rung" in Path(earlier.definition).read_text()
    assert "restartScope" not in Path(earlier.definition).read_text()
