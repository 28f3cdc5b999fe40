"""spec.elasticPolicy on a real API server: an edit, `kubectl scale`, a pod without a node, standby pods, a killed
operator, bounds by an injected clock."""

import copy
import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from bounds import BOUND
from controlplane.errors import CommandFailed
from neuron_api import contract
from neuron_api.resource.progress import CheckpointReport, Recovery
from neuron_api.resource.reasons import Reason
from neuron_api.resource.status import Phase

from .crash_points import WRITES, Death, Killed, MortalCluster
from .operators import pods_are
from .world import JOB, World, container, manifest, now_text, until, utc

SHRINK, GROW = 60, 120


def elastic(**policy: Any) -> dict[str, Any]:
    """4 nodes x 2 processes; the quickstart's global batch is divided by 2, 3 and 4 of them."""
    job = manifest(
        trainer__num_nodes=4, distributed_strategy__tensor_model_parallel_size=2, data__global_batch_size=24,
        data__micro_batch_size=1,
    )  # fmt: skip
    bounds = {"minNodes": 2, "shrinkAfterSeconds": SHRINK, "growAfterSeconds": GROW}
    job["spec"]["elasticPolicy"] = bounds | policy
    return job


def later(seconds: float) -> Callable[[], datetime]:
    """A clock that is ahead."""
    return lambda: utc() + timedelta(seconds=seconds)


async def train(world: World, step: int, **more: Any) -> None:
    """All pods of the attempt run, and pod 0 says how far it is."""
    for name in await own_pods(world):
        await world.run(name)
    await world.report(step, **more)


async def start(world: World, **policy: Any) -> None:
    world.apply(elastic(**policy))
    await world.reconcile()
    await train(world, 20)
    await world.reconcile()


async def own_pods(world: World) -> list[str]:
    return [pod["metadata"]["name"] for pod in await world.pods() if not _is_standby(pod)]


async def standby_pods(world: World) -> list[str]:
    return [pod["metadata"]["name"] for pod in await world.pods() if _is_standby(pod)]


def _is_standby(pod: dict[str, Any]) -> bool:
    return contract.LABEL_STANDBY in pod["metadata"]["labels"]


async def vanish(world: World, attempt: int) -> None:
    """Kubelets end what is being deleted of an attempt."""
    for pod in await world.pods():
        if "deletionTimestamp" in pod["metadata"]:
            assert pod["metadata"]["labels"][contract.LABEL_ATTEMPT] == str(attempt)
            world.kubectl("delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force", "--ignore-not-found")


async def place(world: World, name: str) -> None:
    """The scheduler binds a pod to a node of its own; one that does not exist would be a lost one."""
    node = f"{world.namespace}-{name}"
    world.kubectl("create", "-f", "-", stdin={"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}})
    binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name, "namespace": world.namespace}}
    binding["target"] = {"apiVersion": "v1", "kind": "Node", "name": node}
    path = f"/api/v1/namespaces/{world.namespace}/pods/{name}/binding"
    world.plane.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(binding))


@pytest.fixture(autouse=True)
def no_node_is_left(world: World) -> Iterator[None]:
    """Nodes belong to no namespace."""
    yield
    names = world.kubectl("get", "nodes", "-o", "name").split()
    if own := [name for name in names if name.startswith(f"node/{world.namespace}-")]:
        world.kubectl("delete", *own, "--wait=false")


async def no_node(world: World, name: str) -> None:
    """The scheduler says that there is none."""
    word = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available."}
    await world.kubelet(name, phase="Pending", conditions=[word])


def ask_for(world: World, nodes: int) -> None:
    patch = f'{{"spec":{{"elasticPolicy":{{"nodes":{nodes}}}}}}}'
    world.kubectl("patch", "ntj", JOB, "--type=merge", "-p", patch)


async def sizes(world: World) -> tuple[int, int, int]:
    """Nodes, desired nodes, attempt."""
    status = (await world.job()).status
    assert status.elastic is not None
    return status.elastic.nodes, status.elastic.desired_nodes, status.attempt


async def test_fewer_nodes_by_an_edit_are_a_new_attempt_with_its_line_and_its_cost(world: World) -> None:
    await start(world)
    ask_for(world, 2)
    await world.reconcile()
    assert await sizes(world) == (2, 2, 1)
    assert all("deletionTimestamp" in pod["metadata"] for pod in await world.pods())
    await vanish(world, 0)
    await world.reconcile()
    assert await own_pods(world) == [f"{JOB}-1-0", f"{JOB}-1-1"]
    recovery = Recovery(round=0, resumed_from_step=20, steps_lost=0, first_step_time=utc() + timedelta(seconds=1))
    await train(world, 21, recoveries=(recovery,))
    await world.reconcile()
    status = (await world.job()).status
    (entry,) = status.restarts
    assert (entry.cause, entry.steps_lost, status.gang_failures) == (Reason.SCALED_DOWN, 0, 0)
    assert entry.recovery_seconds is not None
    assert (status.phase, status.topology and status.topology.data_parallel) == (Phase.RUNNING, 2)
    reasons = world.kubectl("get", "events", "-o", "jsonpath={.items[*].reason}").split()
    assert reasons.count("ScaledDown") == 1


async def test_kubectl_scale_sets_the_number_of_nodes(world: World) -> None:
    await start(world, nodes=4)
    assert world.kubectl("get", "ntj", JOB, "--subresource=scale", "-o", "jsonpath={.status.replicas}") == "4"
    world.kubectl("scale", "ntj", JOB, "--replicas=3")
    await world.reconcile()
    assert await sizes(world) == (3, 3, 1)
    with pytest.raises(CommandFailed, match=r"it is not between minNodes and maxNodes"):
        world.kubectl("scale", "ntj", JOB, "--replicas=1")


async def test_a_pod_without_a_node_shrinks_the_job_and_a_standby_pod_grows_it_back(world: World) -> None:
    await start(world)
    world.kubectl("delete", "pod", f"{JOB}-0-3", "--grace-period=0", "--force")
    await world.reconcile()
    await no_node(world, f"{JOB}-0-3")
    due = await world.reconcile()
    assert due is not None
    assert due <= SHRINK
    assert await sizes(world) == (4, 4, 0)
    await world.reconcile(world.controller(clock=later(SHRINK)))
    await vanish(world, 0)
    await world.reconcile(world.controller(clock=later(SHRINK)))
    assert await sizes(world) == (3, 4, 1)
    assert await own_pods(world) == [f"{JOB}-1-{index}" for index in range(3)]
    causes = [entry.cause for entry in (await world.job()).status.restarts]
    assert causes == [Reason.POD_DELETED, Reason.SCALED_DOWN]

    await bind_all(world)
    recovery = Recovery(round=0, resumed_from_step=20, steps_lost=0, first_step_time=later(SHRINK + 1)())
    await train(world, 25, recoveries=(recovery,), last_step_time=later(SHRINK + 2)())
    await world.reconcile(world.controller(clock=later(SHRINK + GROW - 10)))
    assert await standby_pods(world) == [], "it grows oftener than it may"
    soon = later(SHRINK + GROW + 1)
    await world.reconcile(world.controller(clock=soon))
    (standby,) = await standby_pods(world)
    await no_node(world, standby)
    await world.reconcile(world.controller(clock=soon))
    assert await sizes(world) == (3, 4, 1)
    await place(world, standby)
    state = {"running": {"startedAt": now_text()}}
    await world.kubelet(standby, phase="Running", containerStatuses=[container(state, ready=True)])
    await world.reconcile(world.controller(clock=soon))
    assert await sizes(world) == (3, 4, 1), "the next checkpoint is awaited"
    saved = CheckpointReport(step=30, path="/training/30.ckpt", time=utc() + timedelta(seconds=5))
    await train(world, 30, recoveries=(recovery,), last_step_time=soon(), checkpoint=saved)
    await world.reconcile(world.controller(clock=soon))
    await vanish(world, 1)
    await world.reconcile(world.controller(clock=soon))
    assert await sizes(world) == (4, 4, 2)
    assert await own_pods(world) == [f"{JOB}-2-{index}" for index in range(4)]
    assert await standby_pods(world) == []


async def bind_all(world: World) -> None:
    for pod in await world.pods():
        if "nodeName" not in pod["spec"]:
            await place(world, pod["metadata"]["name"])


@pytest.mark.parametrize("after", [False, True], ids=["before-the-write", "after-the-write"])
async def test_an_operator_killed_at_any_write_of_a_change_changes_the_nodes_once(world: World, after: bool) -> None:
    await start(world)
    ask_for(world, 2)
    writes = kills = 0
    while True:
        writes += 1
        try:
            death = Death(writes, after=after)
            await world.reconcile(world.controller(MortalCluster(world.cluster, death, WRITES)))  # type: ignore[arg-type]
            break
        except Killed:
            kills += 1
    await vanish(world, 0)
    await world.reconcile()
    assert kills >= 1
    assert await sizes(world) == (2, 2, 1)
    assert await own_pods(world) == [f"{JOB}-1-0", f"{JOB}-1-1"]
    assert [entry.cause for entry in (await world.job()).status.restarts] == [Reason.SCALED_DOWN]


async def test_an_operator_process_shrinks_after_the_bound_and_so_does_its_successor(
    world: World, operators: Any, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """By events and due times of its own, without a test that looks for it."""
    world.apply(elastic(shrinkAfterSeconds=3))
    killed = operators("one")
    await pods_are(world, *(f"{JOB}-0-{index}" for index in range(4)))
    for index in range(3):
        await place(world, f"{JOB}-0-{index}")
    await no_node(world, f"{JOB}-0-3")
    killed.process.kill()
    await killed.ended(BOUND)
    operators("one")

    async def has_shrunk() -> bool:
        job = await world.job()
        if job.status.attempt == 1:
            await vanish(world, 0)
        return await own_pods(world) == [f"{JOB}-1-{index}" for index in range(3)]

    created = next(pod for pod in await world.pods() if pod["metadata"]["name"] == f"{JOB}-0-3")["metadata"]
    await until("three pods of the next attempt", has_shrunk)
    (entry,) = (await world.job()).status.restarts
    seconds = (entry.time - datetime.fromisoformat(created["creationTimestamp"])).total_seconds()
    record_testsuite_property("seconds until the shrink", seconds)
    assert entry.cause is Reason.SCALED_DOWN
    assert seconds >= 3
    world.kubectl("delete", "ntj", JOB, "--wait=false")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"elasticPolicy": {"minNodes": 4, "maxNodes": 2}}, r"spec\.elasticPolicy\.minNodes: it is more than maxNodes"),
        ({"elasticPolicy": {"maxNodes": 4, "nodes": 5}}, "it is not between minNodes and maxNodes"),
        ({"elasticPolicy": {}, "scheduling": {"gang": "Volcano"}}, "the number of nodes cannot change in a gang"),
        ({"elasticPolicy": {"shrinkAfterSeconds": 900}}, "it is not less than restartPolicy.rejoinTimeoutSeconds"),
        (
            {"elasticPolicy": {"shrinkAfterSeconds": 60}, "startupPolicy": {"schedulingSeconds": 60}},
            "it is not less than restartPolicy.rejoinTimeoutSeconds",
        ),
    ],
)
def test_a_policy_that_contradicts_itself_is_refused_at_apply(world: World, spec: dict[str, Any], words: str) -> None:
    job = copy.deepcopy(manifest())
    job["spec"] |= spec
    with pytest.raises(CommandFailed, match=words):
        world.kubectl("apply", "--dry-run=server", "-f", "-", stdin=job)
