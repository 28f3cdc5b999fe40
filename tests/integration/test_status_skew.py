"""Operator and CRD of different releases, on a real API server.

The kind: an operator reads, or writes, a status that its CRD or another operator does not know. Tried: a status of a
newer operator that an older one takes over (roll-back of the chart), words that are none, and an operator of today on
the CRD of commit f231c0e, whose words are enumerations, whose numbers are floating-point, and which lacks fields.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from controlplane.errors import CommandFailed
from controlplane.shell import wait_until
from neuron_operator.kube import gateway as api
from neuron_operator.kube.errors import RefusedError
from neuron_operator.status_writer import RETRY_SECONDS

from .world import JOB, ROOT, World

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


# ---- an operator of today on an older CRD ------------------------------------------------------------------------

OLD_CRD = ROOT / "tests" / "data" / "crds" / "closed-status.yaml"
PROBE = ("patch", "ntj", JOB, "--subresource=status", "--type=merge", "--dry-run=server")


def takes_any_word(world: World) -> bool:
    try:
        world.kubectl(*PROBE, "-p", '{"status": {"phase": "NoSuchPhase"}}')
    except CommandFailed:
        return False
    return True


@contextmanager
def older_crd(world: World) -> Iterator[None]:
    """Served while the block runs: the API server takes a new definition into use a moment after it was written."""

    def serve(source: Path, *, is_open: bool) -> None:
        world.plane.kubectl("apply", "-f", source)
        wait_until("the definition to be served", lambda: takes_any_word(world) is is_open, seconds=120)

    serve(OLD_CRD, is_open=False)
    try:
        yield
    finally:
        serve(ROOT / "crds", is_open=True)


async def notes(world: World, reason: str) -> list[str]:
    found = await world.cluster.list(api.EVENT, world.namespace)
    return [str(one["note"]) for one in found if one["reason"] == reason]


async def test_on_an_older_crd_a_job_goes_on_decides_nothing_says_why_and_recovers_with_the_crd(world: World) -> None:
    await world.start()
    operator = world.controller()
    with older_crd(world):
        await world.report(24)
        await world.reconcile(operator)
        (note,) = await notes(world, "StatusRefused")
        assert "Apply the CRD of the operator's release" in note
        assert "status.progress.loss" in note

        world.kubectl("delete", "pod", f"{JOB}-0-1", "--grace-period=0", "--force")
        assert await world.reconcile(operator) == RETRY_SECONDS
        assert await world.pod_names() == [f"{JOB}-0-0"], "a restart that cannot be written down is not made"
        assert (await world.job()).status.restart_count == 0
        assert any("status.restarts[0]" in one for one in await notes(world, "StatusRefused"))
    await world.reconcile(operator)
    assert await world.pod_names() == [f"{JOB}-0-0", f"{JOB}-0-1"]
    assert (await world.job()).status.restart_count == 1
