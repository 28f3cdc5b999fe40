"""From `kubectl apply` to Succeeded, and what a user sees at each stage."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

from bounds import BOUND
from neuron_api import contract
from neuron_api.resource.progress import TrainerPhase
from neuron_api.resource.status import Phase
from neuron_operator.kube import gateway as api
from neuron_operator.kube.gateway import Cluster
from neuron_operator.status_writer import StatusThrottle

from .world import JOB, World, manifest, utc


async def test_a_job_runs_to_its_end_and_kubectl_diff_is_empty_at_every_stage(world: World) -> None:
    job = manifest()
    world.apply(job)

    def diff() -> str:
        return world.kubectl("diff", "-f", "-", stdin=job)  # exit status 1 where there is one

    assert diff() == ""
    await world.reconcile()
    assert (await world.job()).status.phase is Phase.STARTING
    assert await world.pod_names() == [f"{JOB}-0-0", f"{JOB}-0-1"]
    assert diff() == ""

    await world.run_all()
    await world.report(0, phase=TrainerPhase.LOADING)
    await world.reconcile()
    assert await world.condition("PodsReady") == ("True", "AllPodsReady", "Every pod is up.")
    assert (await world.condition("Ready"))[:2] == ("False", "WaitingForFirstStep")

    await world.report(20)
    await world.reconcile()
    status = (await world.job()).status
    assert (status.phase, status.ready_nodes) == (Phase.RUNNING, 2)
    assert status.progress is not None
    assert status.progress.step == 20
    assert diff() == ""

    await world.report(240, phase=TrainerPhase.SUCCEEDED)
    await world.end(f"{JOB}-0-1", 0)
    await world.reconcile()
    assert (await world.job()).status.phase is Phase.RUNNING  # one pod is not the gang
    await world.end(f"{JOB}-0-0", 0)
    await world.reconcile()
    status = (await world.job()).status
    assert status.phase is Phase.SUCCEEDED
    assert status.completion_time is not None
    assert await world.condition("Ready") == ("True", "Completed", "Training has ended as configured.")
    assert diff() == ""
    world.kubectl("wait", "--for=condition=Succeeded", f"ntj/{JOB}", "--timeout=10m")


EVERY_FIELD: dict[str, Any] = {
    "restartPolicy": {
        "maxProcessRestarts": 5, "maxGangRestarts": 4, "windowSeconds": 86400, "rejoinTimeoutSeconds": 300,
        "budgets": {"outOfMemory": 1, "processKilled": 2, "podFailed": 2}, "fromScratch": "BeforeFirstCheckpoint",
    },
    "nodePolicy": {
        "excludeFaultyNodes": True, "exclusionSeconds": 600, "repeatFailures": 1, "repeatWindowSeconds": 600,
        "maxExcludedPercent": 50, "forceDeleteFenced": True,
    },
    "hangPolicy": {
        "enabled": True, "stepFactor": 20, "minStepSeconds": 30, "firstStepSeconds": 600, "loadSeconds": 600,
        "saveSeconds": 600, "validationSeconds": 600, "maxRestarts": 1,
    },
    "suspendPolicy": {"checkpointWaitSeconds": 0},
    "startupPolicy": {"schedulingSeconds": 600, "imageSeconds": 600, "firstStepSeconds": 600},
    "activeDeadlineSeconds": 86400,
    "ttlSecondsAfterFinished": 3600,
    "suspend": False,
    "podTemplate": {"metadata": {"labels": {"team": "a"}}, "spec": {"terminationGracePeriodSeconds": 30}},
}  # fmt: skip


async def test_kubectl_diff_stays_empty_with_every_policy_set_through_failures_and_a_suspension(world: World) -> None:
    """Also while no operator runs, which between two passes is always; and the operator owns nothing but the status."""
    job = manifest()
    job["spec"] |= EVERY_FIELD

    async def is_untouched() -> None:
        assert world.kubectl("diff", "-f", "-", stdin=job) == ""
        metadata = (await world.cluster.get(api.JOB, world.namespace, JOB))["metadata"]
        assert not {"finalizers", "ownerReferences"} & metadata.keys()
        owned = {one["manager"]: set(one["fieldsV1"]) for one in metadata["managedFields"]}
        assert owned.get(contract.FIELD_MANAGER, {"f:status"}) == {"f:status"}

    world.apply(job)
    await is_untouched()
    await world.reconcile()
    await world.run_all()
    await world.report(20)
    await world.reconcile()
    await is_untouched()

    await world.end(f"{JOB}-0-1", 1, "out of cheese")  # the gang is replaced, and a node avoided
    await world.reconcile()  # decided and deleted
    await world.reconcile()  # created
    await world.run_all()
    await world.report(30)
    await world.reconcile()
    assert (await world.job()).status.restart_count == 1
    await is_untouched()

    job["spec"]["suspend"] = True
    world.apply(job)
    await is_untouched()
    await world.reconcile()
    assert (await world.job()).status.phase in (Phase.SUSPENDING, Phase.SUSPENDED)
    await is_untouched()


async def test_steps_are_written_down_once_in_ten_seconds(world: World) -> None:
    await world.start()
    now, seconds = utc(), 0
    saved = world.reports.by_index[0].checkpoint
    operator = replace(
        world.controller(clock=lambda: now + timedelta(seconds=seconds)), status_throttle=StatusThrottle(10.0)
    )
    versions = []
    for seconds in range(60):
        await world.report(21 + seconds, checkpoint=saved)
        await world.reconcile(operator)
        versions.append((await world.job()).metadata.resource_version)
    writes = 1 + sum(before != after for before, after in pairwise(versions))
    assert writes == 6
    progress = (await world.job()).status.progress
    assert progress is not None
    assert progress.step == 21 + 50


async def test_the_children_have_what_the_gang_needs_and_belong_to_the_job(world: World) -> None:
    world.apply(manifest())
    await world.reconcile()
    uid = (await world.job()).metadata.uid
    service = await world.cluster.get(api.SERVICE, world.namespace, JOB)
    config_map = await world.cluster.get(api.CONFIG_MAP, world.namespace, f"{JOB}-config")
    pods = await world.pods()
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert "${trainer.max_steps}" in config_map["data"][contract.CONFIG_FILE]
    for child in (service, config_map, *pods):
        (owner,) = child["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["controller"]) == (uid, True)
        assert "finalizers" not in child["metadata"]
    assert "finalizers" not in (await world.cluster.get(api.JOB, world.namespace, JOB))["metadata"]


class Together(Cluster):
    """Sends what it is to apply when two are asked for at the same time."""

    def __init__(self, live: Cluster) -> None:
        vars(self).update(vars(live))
        self._two = asyncio.Barrier(2)

    async def apply(self, body: Mapping[str, Any]) -> dict[str, Any]:
        async with asyncio.timeout(BOUND):
            await self._two.wait()
        return await super().apply(body)


async def test_service_and_config_map_do_not_wait_for_each_other(world: World) -> None:
    world.apply(manifest())
    await world.reconcile(world.controller(Together(world.cluster)))
    assert await world.cluster.get(api.SERVICE, world.namespace, JOB)
    assert await world.cluster.get(api.CONFIG_MAP, world.namespace, f"{JOB}-config")
    assert len(await world.pods()) == 2


async def test_events_tell_each_transition_once(world: World) -> None:
    await world.start()
    await world.reconcile()
    await world.reconcile()
    events = await world.cluster.list(api.EVENT, world.namespace)
    ours = [event["reason"] for event in events if event["regarding"]["kind"] == contract.KIND]
    assert sorted(ours) == ["PodsCreated", "StepsAdvancing"]


async def test_kubectl_get_shows_phase_nodes_steps_and_loss(world: World) -> None:
    await world.start()
    header, row = world.kubectl("get", "ntj", JOB).splitlines()
    columns = "NAME PHASE NODES STEP MAX_STEPS CHECKPOINT RESTARTS STEPS_LOST REMAINING REASON AGE"
    assert re.split(r"\s{2,}", header.strip()) == [column.replace("_", " ") for column in columns.split()]
    assert row.split()[:8] == [JOB, "Running", "2", "20", "240", "20", "0", "0"]
    wide = world.kubectl("get", "ntj", JOB, "-o", "wide").splitlines()[0]
    assert {"LOSS", "TOKENS/S", "SAVED", "WORLD", "ATTEMPT", "READY"} <= set(wide.split()) - set(header.split())


async def test_a_pass_over_a_converged_job_writes_nothing(world: World) -> None:
    await world.start()
    before = (await world.job()).metadata.resource_version
    for _ in range(3):
        assert await world.reconcile() == 5.0  # the next look at the progress
    assert (await world.job()).metadata.resource_version == before
    requests = world.metrics.registry.get_sample_value
    assert requests("neuron_training_step", {"training_namespace": world.namespace, "training_job": JOB}) == 20


async def test_the_configuration_may_come_from_a_config_map_and_is_frozen_at_the_start(world: World) -> None:
    import yaml

    job = manifest()
    text = yaml.safe_dump(job["spec"].pop("config"))
    job["spec"]["configFrom"] = {"configMapKeyRef": {"name": "source", "key": "run.yaml"}}
    world.apply(job)
    await world.reconcile()
    stalled = await world.condition("Stalled")
    assert stalled[:2] == ("True", "ConfigMapNotFound")
    assert "spec.configFrom.configMapKeyRef.name" in stalled[2]

    source = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "source"}, "data": {"run.yaml": text}}
    world.kubectl("apply", "-f", "-", stdin=source)
    await world.reconcile()
    assert len(await world.pods()) == 2
    world.kubectl("delete", "configmap", "source")
    await world.run_all()
    await world.report(20)
    await world.reconcile()
    assert (await world.job()).status.phase is Phase.RUNNING
