"""The Coscheduling plugin of scheduler-plugins, running: a gang gets all its nodes or none."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import yaml

from controlplane import optionalprograms
from controlplane.controlplane import ControlPlane
from integration.world import JOB, World, until
from neuron_api.resource.scheduling import GangScheduler
from neuron_api.resource.status import Phase
from neuron_operator.kube import gateway as api

from .running import job, node, running, wait_for_line

CONFIGURATION = {
    "apiVersion": "kubescheduler.config.k8s.io/v1",
    "kind": "KubeSchedulerConfiguration",
    "leaderElection": {"leaderElect": False},
    "profiles": [
        {
            "schedulerName": "scheduler-plugins-scheduler",
            "plugins": {
                # Nobody makes volumes for the claims here.
                "multiPoint": {
                    "enabled": [{"name": "Coscheduling"}],
                    "disabled": [{"name": "VolumeBinding"}, {"name": "VolumeZone"}],
                },
                "queueSort": {"enabled": [{"name": "Coscheduling"}], "disabled": [{"name": "*"}]},
            },
            "pluginConfig": [{"name": "Coscheduling", "args": {"permitWaitingTimeSeconds": 5}}],
        }
    ],
}
NODES = ("one", "two", "three")


@pytest.fixture(scope="module")
def scheduler(plane: ControlPlane) -> Iterator[None]:
    source = optionalprograms.source("coscheduling", "sigs.k8s.io/scheduler-plugins")
    plane.kubectl("apply", "--filename", source / "config" / "crd" / "bases" / "scheduling.x-k8s.io_podgroups.yaml")
    file, log = plane.directory / "coscheduling.yaml", plane.directory / "coscheduling.log"
    file.write_text(yaml.safe_dump({**CONFIGURATION, "clientConnection": {"kubeconfig": str(plane.kubeconfig)}}))
    command = [optionalprograms.program("coscheduling"), f"--config={file}", "--secure-port=0", "--v=3"]
    with running(command, log, plane.kubeconfig):
        wait_for_line(log, "Caches populated")
        yield


async def places(world: World) -> list[str]:
    return sorted(pod["spec"].get("nodeName", "") for pod in await world.pods())


async def _placed(world: World) -> bool:
    return all(await places(world)) and len(await places(world)) == 2


async def test_two_gangs_on_room_for_one_and_a_half(worlds: list[World], scheduler: None) -> None:
    first, second = worlds
    for world in worlds:
        world.options = replace(world.options, gang_schedulers=frozenset({GangScheduler.COSCHEDULING}))
    for name in NODES:
        await node(first, name)
    first.apply(job("Coscheduling"))
    await first.reconcile()
    await until("the first gang to have its nodes", lambda: _placed(first))
    await first.reconcile()
    assert (await first.condition("Admitted"))[:2] == ("True", "Admitted")
    # One pod of the first is lost: its replacement alone is placed, in the same group.
    await first.run_all()
    await first.report(20)
    await first.reconcile()
    lost = (await first.pods())[1]["metadata"]["uid"]
    await first.cluster.delete(api.POD, first.namespace, f"{JOB}-0-1", lost, grace=0)
    await first.reconcile()
    await until("the replacement to have its node", lambda: _placed(first))
    assert [pod["metadata"]["uid"] == lost for pod in await first.pods()] == [False, False]
    # The second finds one node, and takes none.
    second.apply(job("Coscheduling"))
    await second.reconcile()

    async def refused() -> bool:
        await second.reconcile()
        return "Insufficient cpu" in (await second.condition("Admitted"))[2]

    await until("the scheduler's word", refused)
    assert (await second.condition("Admitted"))[:2] == ("False", "WaitingForGang")
    assert await places(second) == ["", ""]
    assert (await second.job()).status.phase is Phase.PENDING
    # The first goes: the second gets both nodes at once.
    first.kubectl("delete", "ntj", JOB, "--wait=false")
    for pod in await first.pods():
        await first.cluster.delete(api.POD, first.namespace, pod["metadata"]["name"], pod["metadata"]["uid"], grace=0)
    await until("the second gang to have its nodes", lambda: _placed(second))
    await second.reconcile()
    assert (await second.condition("Admitted"))[:2] == ("True", "Admitted")
