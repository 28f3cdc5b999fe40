"""The operator as a process: kopf wakes it, the Lease lets one act, signals end it, a kill costs nothing."""

import signal
from pathlib import Path
from typing import Any

from bounds import BOUND
from neuron_api import contract
from neuron_operator.kube import gateway as api

from .operators import pods_are
from .world import JOB, World, manifest, until

LEASE = "neuron-training-operator"


async def test_it_wakes_up_on_events_and_ends_on_sigterm_with_its_lease_given_back(
    world: World, operators: Any
) -> None:
    one = operators("one")
    await one.leads()
    assert one.get("/livez") == (200, "ok\n")
    assert one.get("/readyz") == (200, "ok\n")
    world.apply(manifest())
    first = await pods_are(world, f"{JOB}-0-0", f"{JOB}-0-1")
    world.kubectl("delete", "pod", f"{JOB}-0-1", "--grace-period=0", "--force")

    async def replaced() -> bool:
        now = await pods_are(world, f"{JOB}-0-0", f"{JOB}-0-1")
        return now[f"{JOB}-0-1"] != first[f"{JOB}-0-1"] and now[f"{JOB}-0-0"] == first[f"{JOB}-0-0"]

    await until("the replacement", replaced)
    status, text = one.get("/metrics")
    assert status == 200
    assert 'neuron_operator_reconcile_duration_seconds_count{result="success"}' in text
    assert 'neuron_operator_reconcile_duration_seconds_count{result="bug"} 0.0' in text
    one.process.terminate()
    assert await one.ended(BOUND) == 0
    lease = await world.cluster.get(api.LEASE, world.namespace, LEASE)
    assert lease["spec"]["holderIdentity"] == ""
    assert not any(word in one.log.read_text() for word in ('"error"', "Traceback")), one.log.read_text()


async def test_killed_at_work_and_started_again_there_is_no_duplicate_and_no_orphan(
    world: World, operators: Any
) -> None:
    world.apply(manifest())
    killed = operators("one")

    async def at_work() -> bool:
        return bool(await world.pods()) or killed.process.poll() is not None

    await until("the first pod", at_work)
    killed.process.kill()
    assert await killed.ended(BOUND) == -signal.SIGKILL
    again = operators("one")  # the kubelet restarts the container in the same pod: the Lease is its own
    await again.leads()
    await pods_are(world, f"{JOB}-0-0", f"{JOB}-0-1")

    async def told() -> bool:
        return (await world.job()).status.phase == "Starting"

    await until("the status", told)
    assert len(await world.cluster.list(api.SERVICE, world.namespace, contract.LABEL_JOB)) == 1
    assert (await world.job()).status.restart_count == 0


async def test_a_second_one_stands_by_and_takes_over(world: World, operators: Any) -> None:
    one = operators("one")
    await one.leads()
    two = operators("two")

    async def ready() -> bool:
        return two.said("listening on port") and two.get("/readyz")[0] == 200

    await until("the standby to be ready", ready)
    assert not two.said("is held by")
    one.process.terminate()
    assert await one.ended(BOUND) == 0
    await two.leads()
    world.apply(manifest())
    await pods_are(world, f"{JOB}-0-0", f"{JOB}-0-1")


async def test_a_leader_whose_lease_was_taken_ends_at_once(world: World, operators: Any) -> None:
    one = operators("one")
    await one.leads()
    patch = '{"spec": {"holderIdentity": "somebody-else"}}'
    world.kubectl("patch", "lease", LEASE, "--type=merge", "--patch", patch)
    assert await one.ended(BOUND) == 1
    assert one.said("is held by somebody-else")
    lease = await world.cluster.get(api.LEASE, world.namespace, LEASE)
    assert lease["spec"]["holderIdentity"] == "somebody-else"


async def test_it_goes_on_after_the_api_server_was_away(world: World, operators: Any) -> None:
    one = operators("one")
    await one.leads()
    world.plane.stop_component("kube-apiserver")
    assert one.get("/livez") == (200, "ok\n")
    world.plane.start_component("kube-apiserver")
    world.apply(manifest())

    async def has_ended_or_acted() -> bool:
        return one.process.poll() is not None or len(await world.pods()) == 2

    await until("pods, or the end of the operator", has_ended_or_acted)
    # kopf may have asked for the kinds while the server was away, and is blind then: ended, to be started again.
    if one.process.poll() is not None:
        assert one.process.poll() == 1
        operators("another")
    await pods_are(world, f"{JOB}-0-0", f"{JOB}-0-1")


async def test_it_needs_no_user_name(world: World, operators: Any, tmp_path: Path) -> None:
    """As in the image: UID 65532 is in no password file, which kopf would stumble over."""
    nameless = tmp_path / "sitecustomize.py"
    nameless.write_text("import pwd\ndef unknown(uid): raise KeyError(uid)\npwd.getpwuid = unknown\n")
    one = operators("nobody", PYTHONPATH=str(tmp_path), **dict.fromkeys(("LOGNAME", "USER", "LNAME", "USERNAME"), ""))
    await one.leads()
    world.apply(manifest())
    await pods_are(world, f"{JOB}-0-0", f"{JOB}-0-1")
