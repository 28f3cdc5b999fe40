"""Queues and gangs against the API server: the objects are accepted by definitions of the real shapes.

The schedulers' own part is played by hand here (tests/data/schedulers/SOURCE.md); `make test-queues` has Kueue and
scheduler-plugins themselves.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.errors import CommandFailed
from neuron_api.resource.job import parse
from neuron_api.resource.progress import CheckpointReport
from neuron_api.resource.scheduling import GangScheduler
from neuron_api.resource.status import Phase
from neuron_operator.kube import gateway as api
from neuron_operator.kube.errors import NotFoundError
from neuron_operator.kube.gateway import Kind
from neuron_operator.planning.scheduling.adapter import GangRequest
from neuron_operator.planning.scheduling.registry import ADAPTERS

from .world import JOB, Json, World, manifest, now_text, until, utc

SHAPES = Path(__file__).parents[1] / "data" / "schedulers"
WORKLOADS = Kind("kueue.x-k8s.io/v1beta2", "workloads")
FINALIZER, GATE = "kueue.x-k8s.io/managed", "kueue.x-k8s.io/admission"
SERVED = [GangScheduler.VOLCANO, GangScheduler.COSCHEDULING]
"""Kubernetes serves its own group itself: no definition can add the PodGroup of 1.37 to an older server."""


def queued(gang: str, **values: Any) -> Json:
    job = manifest()
    job["spec"]["scheduling"] = {"gang": str(gang), **values}
    return job


@asynccontextmanager
async def installed(world: World, gang: str, kind: Kind) -> AsyncIterator[None]:
    """The definitions of a scheduler, for the time of a test; each is served in its own time."""
    file = SHAPES / f"{gang.lower()}.yaml"
    world.kubectl("apply", "--filename", str(file))
    try:
        kinds = {kind, *map(defined, filter(None, yaml.safe_load_all(file.read_text())))}
        await until("the definitions to be served", lambda: _serves(world, kinds))
        yield
    finally:
        world.kubectl("delete", "--filename", str(file), "--wait=true")


def defined(definition: Json) -> Kind:
    spec = definition["spec"]
    version = next(version["name"] for version in spec["versions"] if version["served"])
    return Kind(f"{spec['group']}/{version}", spec["names"]["plural"], namespaced=spec["scope"] == "Namespaced")


async def _serves(world: World, kinds: set[Kind]) -> bool:
    try:
        for kind in kinds:
            await world.cluster.list(kind, world.namespace if kind.namespaced else "")
    except NotFoundError:
        return False
    return True


def kind_of(gang: GangScheduler) -> Kind:
    kind = ADAPTERS[gang].kind
    return Kind(kind.api_versions[0], kind.plural)


async def names(world: World, kind: Kind) -> list[str]:
    return sorted(one["metadata"]["name"] for one in await world.cluster.list(kind, world.namespace))


@pytest.mark.parametrize("gang", SERVED)
async def test_a_job_waits_for_its_scheduler_and_its_group_lives_as_long_as_the_attempt(
    world: World, gang: GangScheduler
) -> None:
    world.options = replace(world.options, gang_schedulers=frozenset({gang}))
    kind = kind_of(gang)
    world.apply(queued(gang))
    assert await world.reconcile() == world.options.wait_seconds
    status, reason, message = await world.condition("Admitted")
    assert (status, reason) == ("False", "SchedulerNotInstalled")
    assert "the job then continues" in message
    assert await world.pods() == []
    async with installed(world, gang, kind):
        await world.reconcile()
        assert await names(world, kind) == [f"{JOB}-0"]
        (group,) = await world.cluster.list(kind, world.namespace)
        assert group["metadata"]["ownerReferences"][0]["uid"] == (await world.job()).metadata.uid
        version = group["metadata"]["resourceVersion"]
        await world.run_all()
        await world.report(20)
        await world.reconcile()
        # One pod is replaced: the same group.
        await world.cluster.delete(api.POD, world.namespace, f"{JOB}-0-1", (await world.pods())[1]["metadata"]["uid"])
        await world.reconcile()
        assert await world.pod_names() == [f"{JOB}-0-0", f"{JOB}-0-1"]
        (group,) = await world.cluster.list(kind, world.namespace)
        assert group["metadata"]["resourceVersion"] == version, "it is not written to without need"
        # All pods are replaced: a new one.
        await world.run_all()
        await world.end(f"{JOB}-0-0", 1, "KeyError: x")
        await world.reconcile()
        await world.reconcile()
        assert await world.pod_names() == [f"{JOB}-1-0", f"{JOB}-1-1"]
        assert await names(world, kind) == [f"{JOB}-1"]
        # Suspended: no place is held.
        world.kubectl("patch", "ntj", JOB, "--type=merge", "--patch", '{"spec":{"suspend":true}}')
        await world.reconcile()
        await world.reconcile()
        assert (await world.job()).status.phase is Phase.SUSPENDED
        assert await names(world, kind) == []
        world.kubectl("patch", "ntj", JOB, "--type=merge", "--patch", '{"spec":{"suspend":false}}')
        await world.reconcile()
        assert await names(world, kind) == [f"{JOB}-2"]


async def test_before_kubernetes_1_37_its_own_gangs_are_not_installed(world: World) -> None:
    world.options = replace(world.options, gang_schedulers=frozenset({GangScheduler.WORKLOAD}))
    world.apply(queued("Workload"))
    await world.reconcile()
    status, reason, message = await world.condition("Admitted")
    assert (status, reason) == ("False", "SchedulerNotInstalled")
    assert "scheduling.k8s.io/v1beta1" in message
    assert await world.pods() == []


async def test_the_group_of_kubernetes_own_gangs_has_the_fields_of_1_37(world: World) -> None:
    """Under another group's name, since this server is older; unknown and missing fields are refused."""
    shape = (SHAPES / "workload.yaml").read_text().replace("scheduling.k8s.io", "scheduling.example")
    definition = yaml.safe_load(shape)
    world.kubectl("apply", "-f", "-", stdin=definition)
    try:
        await until("the definition", lambda: _serves(world, {defined(definition)}))
        world.options = replace(world.options, gang_schedulers=frozenset({GangScheduler.WORKLOAD}))
        made = parse(queued("Workload") | {"metadata": {"name": JOB, "namespace": world.namespace, "uid": "x"}})
        asked = GangRequest(made, 0, 2)
        spec = ADAPTERS[GangScheduler.WORKLOAD].group(asked, {"spec": {"containers": []}})
        body = {"apiVersion": "scheduling.example/v1beta1", "kind": "PodGroup", "metadata": {"name": asked.name}}
        world.kubectl("create", "--validate=strict", "-f", "-", stdin={**body, "spec": spec})
    finally:
        world.kubectl("delete", "-f", "-", "--wait=true", stdin=definition)


class Kueue:
    """What Kueue's webhook and controller do to the pods of a group, by hand."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def marks(self) -> None:
        """As its webhook does when a pod is created."""
        for pod in await self.world.pods():
            metadata = pod["metadata"]
            if FINALIZER not in metadata.get("finalizers", []):
                changes = {"labels": {FINALIZER: "true"}, "finalizers": [FINALIZER]}
                marked = {"name": metadata["name"], "namespace": self.world.namespace, **changes}
                await self.world.cluster.patch(api.POD, {"metadata": marked})

    async def says(self, name: str, **conditions: tuple[str, str]) -> None:
        """A Workload with these conditions: type to status and message."""
        metadata = {"name": name, "namespace": self.world.namespace}
        body = await self.world.cluster.find(WORKLOADS, self.world.namespace, name)
        if body is None:
            made = {"apiVersion": WORKLOADS.api_version, "kind": "Workload", "metadata": metadata, "spec": {}}
            body = await self.world.cluster.create(WORKLOADS, made)
        told = [{"type": kind, "status": status, "reason": "Told", "message": text, "lastTransitionTime": now_text()}
                for kind, (status, text) in conditions.items()]  # fmt: skip
        await self.world.cluster.replace(WORKLOADS, {**body, "status": {"conditions": told}}, "status")

    async def admits(self, name: str) -> None:
        """The gates are taken away."""
        await self.says(name, Admitted=("True", "The workload is admitted"))
        for pod in await self.world.pods():
            pod["spec"].pop("schedulingGates", None)
            await self.world.cluster.replace(api.POD, pod)


async def test_a_job_waits_for_kueue_for_its_queue_for_quota_and_for_replacements(world: World) -> None:
    world.options = replace(world.options, gang_schedulers=frozenset({GangScheduler.KUEUE}))
    kueue = Kueue(world)
    world.apply(queued("Kueue", queueName="team"))
    await world.reconcile()
    assert (await world.condition("Admitted"))[1] == "SchedulerNotInstalled"
    async with installed(world, "Kueue", WORKLOADS):
        await world.reconcile()
        assert (await world.condition("Admitted"))[1] == "QueueNotFound"
        assert await world.pods() == []
        queue = {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "LocalQueue", "metadata": {"name": "team"},
                 "spec": {"clusterQueue": "all"}}  # fmt: skip
        world.kubectl("apply", "-f", "-", stdin=queue)
        await world.reconcile()
        assert [pod["spec"]["schedulingGates"] for pod in await world.pods()] == [[{"name": GATE}]] * 2
        await world.reconcile()
        assert (await world.condition("Admitted"))[1] == "QueueNotInCharge"
        await kueue.marks()
        await kueue.says(f"{JOB}-0", QuotaReserved=("False", "insufficient unused quota for cpu"))
        await world.reconcile()
        assert (await world.condition("Admitted"))[1:] == (
            "WaitingForQuota", "2 pods wait in LocalQueue team. Kueue says: insufficient unused quota for cpu.",
        )  # fmt: skip
        await kueue.admits(f"{JOB}-0")
        await world.run_all()
        await world.report(20)
        await world.reconcile()
        assert (await world.condition("Admitted"))[:2] == ("True", "Admitted")
        # Kueue keeps a pod that has ended until its replacement is there, which has the same name.
        lost = (await world.pods())[1]["metadata"]["uid"]
        await world.cluster.delete(api.POD, world.namespace, f"{JOB}-0-1", lost, grace=0)
        await world.end(f"{JOB}-0-1", 143)
        await world.reconcile()
        await world.reconcile()
        assert [pod["metadata"]["uid"] != lost for pod in await world.pods()] == [True, True]
        # A failed job's pods stay for their logs, and hold no quota.
        await kueue.marks()
        await world.run_all()
        await world.end(f"{JOB}-0-0", 2, "data.train_dir: no")
        await world.reconcile()
        await world.reconcile()
        (failed,) = [pod for pod in await world.pods() if pod["status"]["phase"] == "Failed"]
        assert failed["metadata"]["annotations"]["kueue.x-k8s.io/retriable-in-group"] == "false"
        assert FINALIZER not in failed["metadata"].get("finalizers", [])


async def test_kueue_learns_what_a_preemption_would_cost(world: World) -> None:
    world.options = replace(world.options, gang_schedulers=frozenset({GangScheduler.KUEUE}))
    kueue = Kueue(world)
    async with installed(world, "Kueue", WORKLOADS):
        queue = {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "LocalQueue", "metadata": {"name": "team"},
                 "spec": {"clusterQueue": "all"}}  # fmt: skip
        world.kubectl("apply", "-f", "-", stdin=queue)
        world.apply(queued("Kueue", queueName="team", maxPriorityBoost=1))
        await world.reconcile()
        await world.reconcile()
        await kueue.marks()
        await kueue.admits(f"{JOB}-0")
        await world.run_all()
        await world.report(20)
        await world.reconcile()
        assert await boost(world) is None, "it has just saved"
        old = CheckpointReport(step=20, path="/training/20.ckpt", time=utc() - timedelta(hours=1))
        await world.report(21, checkpoint=old)
        await world.reconcile()
        assert await boost(world) == "1"


async def boost(world: World) -> str | None:
    body = await world.cluster.get(WORKLOADS, world.namespace, f"{JOB}-0")
    annotations: dict[str, str] = body["metadata"].get("annotations", {})
    return annotations.get("kueue.x-k8s.io/priority-boost")


async def test_pods_that_kueue_holds_vanish_with_their_job(world: World) -> None:
    world.options = replace(world.options, gang_schedulers=frozenset({GangScheduler.KUEUE}))
    async with installed(world, "Kueue", WORKLOADS):
        world.apply(queued("Kueue", queueName="team"))
        world.kubectl("apply", "-f", "-", stdin={"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "LocalQueue",
                                                 "metadata": {"name": "team"}, "spec": {}})  # fmt: skip
        await world.reconcile()
        await Kueue(world).marks()
        world.kubectl("delete", "ntj", JOB, "--wait=false")
        await until("garbage collection", lambda: _all_going(world))
        await world.reconcile()
        assert await world.pods() == []


async def _all_going(world: World) -> bool:
    return all("deletionTimestamp" in pod["metadata"] for pod in await world.pods())


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"scheduling": {"gang": "Kueue"}}, "it is required with gang Kueue"),
        ({"scheduling": {"queueName": "team"}}, "is for the gangs Kueue and Volcano"),
        ({"scheduling": {"gang": "Workload", "queueName": "team"}}, "is for the gangs Kueue and Volcano"),
        ({"scheduling": {"gang": "Volcano", "scheduleTimeoutSeconds": 9}}, "is for the gang Coscheduling only"),
        (
            {"scheduling": {"gang": "Kueue", "queueName": "a", "topology": {"required": "a", "preferred": "b"}}},
            "Kueue takes one of required and preferred",
        ),
        ({"startupPolicy": {"admissionSeconds": 60}}, "bounds the wait in a queue"),
        ({"scheduling": {"gang": "None"}, "startupPolicy": {"admissionSeconds": 60}}, "bounds the wait in a queue"),
        ({"scheduling": {"gang": "slurm"}}, 'Unsupported value: "slurm"'),
        ({"scheduling": {"topology": {"required": "no key!"}}}, "spec.scheduling.topology.required"),
    ],
)
def test_what_does_not_go_together_is_refused_at_apply(world: World, spec: Json, words: str) -> None:
    job = manifest()
    job["spec"] |= spec
    with pytest.raises(CommandFailed, match=words.replace("!", ".")):
        world.kubectl("apply", "--dry-run=server", "-f", "-", stdin=job)


async def test_scheduling_is_fixed_while_the_job_has_pods(world: World) -> None:
    await world.start()
    job = queued("Volcano")
    with pytest.raises(CommandFailed, match=r"spec\.scheduling cannot be changed while the job has pods"):
        world.apply(job)
