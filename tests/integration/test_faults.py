"""Faults of hardware and program, on a real API server: what is said of them, where new pods go, when the job ends."""

from neuron_api import contract
from neuron_api.resource.progress import ProcessFailure, SpikeReport, StragglerReport
from neuron_api.resource.reasons import Reason
from neuron_api.resource.status import Phase, RestartScope
from neuron_operator.kube import gateway as api

from .world import JOB, World, manifest, utc

BAD = "RuntimeError: nrt_execute failed, status_code=1202"
ZONE = {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["z1"]}
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


async def on_nodes(world: World, *names: str) -> None:
    """The scheduler's part: bind the pods in order, to nodes that are there."""
    for name in names:
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": f"{world.namespace}-{name}", "labels": {"kubernetes.io/hostname": f"host-{name}"}},
        }
        if await world.cluster.find(api.NODE, "", node["metadata"]["name"]) is None:  # type: ignore[index]
            await world.cluster.create(api.NODE, node)
    for pod, name in zip(await world.pods(), names, strict=True):
        if "nodeName" not in pod["spec"]:
            path = api.POD.path(world.namespace, pod["metadata"]["name"], "binding")
            target = {"apiVersion": "v1", "kind": "Node", "name": f"{world.namespace}-{name}"}
            body = {
                "apiVersion": "v1",
                "kind": "Binding",
                "metadata": {"name": pod["metadata"]["name"]},
                "target": target,
            }
            await world.cluster._call("POST", api.POD, path, None, body)


async def start(world: World, **node_policy: object) -> None:
    """A gang on the nodes a and b, at step 20."""
    job = manifest()
    job["spec"]["nodePolicy"] = node_policy
    affinity = {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{"matchExpressions": [ZONE]}]}}}
    job["spec"]["podTemplate"] = {"spec": {"affinity": affinity}}
    world.apply(job)
    await world.reconcile()
    await on_nodes(world, "a", "b")
    await world.run_all()
    await world.report(20)
    await world.reconcile()


def failure(number: int, message: str, code: int = 1) -> ProcessFailure:
    lines = ("Traceback (most recent call last):", "  in step")
    return ProcessFailure(
        time=utc(), round=number, rank=1, local_rank=1, exit_code=code, step=27, message=message, lines=lines
    )


async def test_a_fault_of_the_hardware_moves_the_pod_to_another_node_and_the_users_affinity_stays(world: World) -> None:
    await start(world)
    await world.report(20, round=1, failures=(failure(0, BAD),))
    await world.reconcile()
    status = (await world.job()).status
    told = [(one.restart_scope, one.cause, one.neuron_code, one.rule) for one in status.restarts]
    rule = "sram-uncorrectable-code"
    assert told == [(rung, Reason.HARDWARE_FAULT, 1202, rule) for rung in (RestartScope.PROCESS, RestartScope.POD)]
    assert status.restarts[0].log_tail == ("Traceback (most recent call last):", "  in step")
    (one,) = status.excluded_nodes
    assert (one.node, one.hostname) == (f"{world.namespace}-a", "host-a")
    world.reports.by_index.clear()
    world.kubectl("delete", "pod", f"{JOB}-0-0", "--grace-period=0", "--force")
    await world.reconcile()
    new = (await world.pods())[0]
    assert new["metadata"]["annotations"] == {contract.ANNOTATION_EXCLUDED: "host-a"}
    away = {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": ["host-a"]}
    required = new["spec"]["affinity"]["nodeAffinity"][REQUIRED]
    assert required["nodeSelectorTerms"] == [{"matchExpressions": [ZONE, away]}]
    assert status.gang_failures == 0
    events = world.kubectl("get", "events", "--field-selector=reason=NodeExcluded", "--output=name").split()
    assert len(events) == 1


async def test_a_slow_process_and_an_unusual_step_are_in_the_status_and_the_next_pod_avoids_the_node(
    world: World,
) -> None:
    await start(world, avoidStragglers=True)
    slow = StragglerReport(
        rank=1, node_rank=0, part="work", seconds=0.12, usual_seconds=0.1, ratio=1.2, steps=40, step=19, time=utc()
    )
    spike = SpikeReport(step=18, quantity="loss", value=9.5, usual=2.25, first_sample=136, last_sample=143)
    for _ in range(2):
        await world.report(20, stragglers=(slow,), newest_spikes=(spike,))
        await world.reconcile()
    status = (await world.job()).status
    assert [(entry.rank, entry.pod, entry.node) for entry in status.stragglers] == [
        (1, f"{JOB}-0-0", f"{world.namespace}-a")
    ]
    assert [(entry.step, entry.first_sample) for entry in status.spikes] == [(18, 136)]
    assert [(entry.hostname, entry.reason) for entry in status.excluded_nodes] == [("host-a", Reason.STRAGGLER)]
    for reason in (Reason.STRAGGLER, "UnusualStep", "NodeExcluded"):
        events = world.kubectl("get", "events", f"--field-selector=reason={reason}", "--output=name").split()
        assert len(events) == 1, reason
    world.reports.by_index.clear()
    world.kubectl("delete", "pod", f"{JOB}-0-0", "--grace-period=0", "--force")
    await world.reconcile()
    assert (await world.pods())[0]["metadata"]["annotations"] == {contract.ANNOTATION_EXCLUDED: "host-a"}


async def test_three_failures_at_one_step_end_the_job_though_every_restart_in_place_went_well(world: World) -> None:
    await start(world)
    failures: tuple[ProcessFailure, ...] = ()
    for number in range(3):
        assert (await world.job()).status.phase is not Phase.FAILED
        failures += (failure(number, "ValueError: token 50257 is not in the vocabulary"),)
        await world.report(27, round=number + 1, failures=failures)
        await world.reconcile()
    status = (await world.job()).status
    assert (status.phase, status.restart_count) == (Phase.FAILED, 3)
    _, reason, message = await world.condition("Failed")
    assert reason == "SameStepCrash"
    assert "3 failures after step 27" in message
    assert f"rank 1 in pod {JOB}-0-0 on node {world.namespace}-a (exit code 1): ValueError: token 50257" in message


async def test_kills_from_outside_at_one_step_do_not_end_the_job(world: World) -> None:
    await start(world)
    failures: tuple[ProcessFailure, ...] = ()
    for number in range(5):
        failures += (failure(number, "ended by SIGKILL", code=-9),)
        await world.report(27, round=number + 1, failures=failures)
        await world.reconcile()
    assert (await world.job()).status.phase is not Phase.FAILED


async def test_a_node_that_does_not_answer_is_named_and_its_pod_is_not_replaced_before_it_is_gone(world: World) -> None:
    await start(world)
    node = f"{world.namespace}-b"
    body = await world.cluster.get(api.NODE, "", node)
    since = {"type": "Ready", "status": "Unknown", "lastTransitionTime": "2026-11-24T12:00:00Z"}
    body["status"] = {**body.get("status", {}), "conditions": [since]}
    body["metadata"]["namespace"] = ""
    del body["metadata"]["resourceVersion"]  # The node controller writes, too.
    await world.cluster.replace(api.NODE, body, "status")
    await world.kubelet(f"{JOB}-0-1", conditions=[{"type": "Ready", "status": "False"}])
    await world.reconcile()
    _, reason, message = await world.condition("Ready")
    assert reason == "NodeNotReady"
    assert f"{node}, which has not answered since 2026-11-24 12:00:00 UTC" in message
    world.kubectl("delete", "pod", f"{JOB}-0-1", "--wait=false")  # What Kubernetes does after the toleration.
    await world.reconcile()
    assert await world.condition("Stalled") == ("True", "NodeNotReady", (await world.condition("Stalled"))[2])
    assert "deletionTimestamp" in (await world.pods())[1]["metadata"]
    await world.cluster.delete(api.NODE, "", node, body["metadata"]["uid"])
    await world.reconcile()  # The pod is forced away;
    await world.reconcile()  # its going wakes the operator, which creates another.
    names = [pod["metadata"]["name"] for pod in await world.pods() if "deletionTimestamp" not in pod["metadata"]]
    assert names == [f"{JOB}-0-0", f"{JOB}-0-1"]
    assert (await world.job()).status.gang_failures == 0
