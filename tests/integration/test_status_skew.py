"""Operator and CRD of different releases, on a real API server.

The kind: an operator reads, or writes, a status that its CRD or another operator does not know. Tried: a status of a
newer operator that an older one takes over (roll-back of the chart), and words that are none.
"""

from typing import Any

import pytest

from neuron_operator import cluster as api
from neuron_operator.errors import RefusedError

from .world import JOB, World

TIME = "2026-11-24T12:00:00Z"


async def write(world: World, **status: Any) -> None:
    """As another operator: fields of the status, at once."""
    body = await world.cluster.get(api.JOB, world.namespace, JOB)
    await world.cluster.replace(api.JOB, {**body, "status": body["status"] | status}, "status")


async def test_after_a_roll_back_a_running_job_goes_on_and_newer_words_stay(world: World) -> None:
    await world.start()
    pods = [pod["metadata"]["uid"] for pod in await world.pods()]
    body = await world.cluster.get(api.JOB, world.namespace, JOB)
    newer = {"type": "Audited", "status": "True", "reason": "NoFindings", "message": "x", "lastTransitionTime": TIME}
    await write(
        world,
        phase="Draining",
        conditions=[*body["status"]["conditions"], newer],
        countedFailures=[{"cause": "DriverUpgraded", "time": TIME}],
    )
    await world.report(24)
    await world.reconcile()
    status = (await world.cluster.get(api.JOB, world.namespace, JOB))["status"]
    assert status["phase"] == "Running"
    assert status["progress"]["step"] == 24
    assert [one["reason"] for one in status["conditions"] if one["type"] == "Audited"] == ["NoFindings"]
    assert [one["cause"] for one in status["countedFailures"]] == ["DriverUpgraded"]
    assert [pod["metadata"]["uid"] for pod in await world.pods()] == pods

    world.kubectl("delete", "pod", f"{JOB}-0-1", "--grace-period=0", "--force")
    await world.reconcile()
    assert len(await world.pods()) == 2
    assert (await world.job()).status.restart_count == 1


@pytest.mark.parametrize("word", ["two words", "", "-x", "x" * 1025])
async def test_what_is_no_word_is_refused(world: World, word: str) -> None:
    await world.start()
    with pytest.raises(RefusedError, match=r"status\.phase"):
        await write(world, phase=word)
