"""neuron_client on a real API server: a job from `train` to `delete`, what is refused, logs through the server."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.controlplane import ControlPlane
from neuron_api import contract
from neuron_api.resource.progress import TrainerPhase
from neuron_client import (
    BackendError,
    FindingsError,
    JobExistsError,
    JobFailedError,
    JobNotFoundError,
    NeuronTrainingClient,
    RequestError,
)

from .kubelet_logs import PodLogs, serve
from .world import JOB, World, manifest


@pytest.fixture
def client(world: World) -> Iterator[NeuronTrainingClient]:
    opened = NeuronTrainingClient(
        kubeconfig=world.plane.kubeconfig, namespace=world.namespace, pause=lambda _: time.sleep(0.05)
    )
    with opened as made:
        yield made


def configuration(**changes: Any) -> dict[str, Any]:
    """The quickstart's configuration, alone."""
    return dict(manifest(**changes)["spec"]["config"])


async def test_a_configuration_becomes_a_job_that_is_followed_to_its_end(
    world: World, client: NeuronTrainingClient
) -> None:
    config = configuration()
    assert client.plan(config, accelerator="cpu", nodes=2).errors == ()
    job = client.train(config, name=JOB, accelerator="cpu", storage="training", overrides={"trainer.max_steps": 240})
    assert (job.name, job.namespace, job.phase, job.step) == (JOB, world.namespace, "Pending", 0)
    assert job.message == "no operator has looked at it yet"
    stored = (await world.job()).spec
    assert [(mount.claim_name, mount.mount_path) for mount in stored.storage] == [("training", "/training")]
    assert stored.config is not None
    assert stored.config["trainer"]["max_steps"] == 240

    await world.reconcile()
    await world.run_all()
    await world.report(20)
    await world.reconcile()
    job = client.wait(job, "Running")
    assert (job.step, job.max_steps, job.nodes, job.ready_nodes, job.checkpoint_step) == (20, 240, 2, 2, 20)
    assert job.loss == pytest.approx(3.8)
    assert "20/240 steps" in job._repr_html_()
    assert client.list() == (job,)
    assert any(event.reason == "PodsCreated" for event in client.events(job))

    assert client.suspend(job).resource.spec.suspend is True  # type: ignore[union-attr]
    assert client.resume(job).resource.spec.suspend is False  # type: ignore[union-attr]

    await world.report(240, phase=TrainerPhase.SUCCEEDED)
    for name in await world.pod_names():
        await world.end(name, 0)
    await world.reconcile()
    job = client.wait(job)
    assert (job.phase, job.is_finished) == ("Succeeded", True)
    with pytest.raises(RequestError, match=f"{JOB} is over .Succeeded.: it cannot be suspended"):
        client.suspend(job)

    client.delete(job)
    with pytest.raises(JobNotFoundError, match=f"there is no NeuronTrainingJob {JOB}"):
        client.get(job)
    assert client.list() == ()


async def test_a_job_that_fails_is_an_exception_with_the_operators_words(
    world: World, client: NeuronTrainingClient
) -> None:
    client.train(manifest())
    await world.reconcile()
    await world.run_all()
    await world.report(3)
    await world.reconcile()
    await world.end(f"{JOB}-0-0", 2, "trainer.devices: wrong")
    await world.reconcile()
    with pytest.raises(JobFailedError, match=f"{JOB} is Failed: .*trainer.devices: wrong"):
        client.wait(JOB)


async def test_a_manifest_is_created_with_what_the_call_changes(world: World, client: NeuronTrainingClient) -> None:
    job = manifest()
    client.train(job, name="other", nodes=1, storage={"training": "/training", "models": "/models"}, image="mine:1")
    stored = client.get("other").resource
    assert stored is not None
    assert stored.spec.config is not None
    assert stored.spec.config["trainer"]["num_nodes"] == 1
    assert [mount.mount_path for mount in stored.spec.storage] == ["/training", "/models"]
    assert stored.spec.image == "mine:1"
    assert job == manifest(), "the caller's mapping is as it was"
    again = {**manifest("other"), "status": {"phase": "Succeeded"}}
    with pytest.raises(JobExistsError, match="there is a job other in namespace"):
        client.train(again)


async def test_what_the_operator_would_refuse_is_not_created(
    world: World, client: NeuronTrainingClient, tmp_path: Path
) -> None:
    file = tmp_path / "job.yaml"
    text = yaml.safe_dump(manifest(trainer__max_steps="many", seed=None), sort_keys=False)
    file.write_text(text)
    with pytest.raises(FindingsError) as caught:
        client.train(file)
    findings = {finding.key: finding for finding in caught.value.findings}
    line = next(number for number, words in enumerate(text.splitlines(), 1) if "max_steps: many" in words)
    assert findings["trainer.max_steps"].line == line
    assert "seed" in findings
    with pytest.raises(FindingsError, match=r"spec\.storage"):
        client.train(configuration(), name="a", accelerator="CPU", storage={"training": "not-absolute"})
    with pytest.raises(FindingsError, match="instance"):
        client.train(configuration(), name="a", instance_type="p4d.24xlarge")
    assert client.list() == ()


def test_a_cluster_that_is_away_is_a_sentence(control_plane: ControlPlane, tmp_path: Path) -> None:
    kubeconfig = yaml.safe_load(control_plane.kubeconfig.read_text())
    kubeconfig["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    away = tmp_path / "away"
    away.write_text(yaml.safe_dump(kubeconfig))
    with pytest.raises(BackendError, match=r"the API server https://127.0.0.1:1 cannot be reached"):
        NeuronTrainingClient(kubeconfig=away).list()
    with pytest.raises(BackendError, match="no cluster: "):
        NeuronTrainingClient(kubeconfig=tmp_path / "missing").list()


@pytest.fixture
async def logs(world: World, tmp_path: Path) -> Any:
    """A node whose kubelet serves logs; the pods of the job are bound to it."""
    with serve(tmp_path / "kubelet") as served:
        name = f"node-{world.namespace}"
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
        world.plane.kubectl("create", "-f", "-", stdin=yaml.safe_dump(node))
        status = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": served.port}},
        }
        patch = yaml.safe_dump({"status": status})
        world.plane.kubectl("patch", "node", name, "--subresource=status", "--type=merge", "-p", patch)
        yield served
    world.plane.kubectl("delete", "node", name)


async def bind(world: World) -> None:
    """What a scheduler does."""
    for pod in await world.pods():
        target = {"apiVersion": "v1", "kind": "Node", "name": f"node-{world.namespace}"}
        metadata = {"name": pod["metadata"]["name"], "namespace": world.namespace}
        body = {"apiVersion": "v1", "kind": "Binding", "metadata": metadata, "target": target}
        path = f"/api/v1/namespaces/{world.namespace}/pods/{metadata['name']}/binding"
        world.plane.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(body))


def step(number: int) -> str:
    line = f"step {number}/240  loss {4 - number / 100:.4f}  lr 0.003  norm 1.000  5,000 tokens/s"
    return f"2026-11-30T12:00:{number:02d}.5Z 12:00:{number:02d} I [0] {line}"


async def test_logs_and_metrics_come_through_the_api_server_and_are_followed(
    world: World, client: NeuronTrainingClient, logs: PodLogs
) -> None:
    client.train(manifest())
    await world.reconcile()
    await bind(world)
    await world.run_all()
    pod = f"{JOB}-0-0"
    logs.write(pod, f"2026-11-30T12:00:00Z 12:00:00 I {contract.KIND}", step(1), step(2))
    assert list(client.logs(JOB)) == [line.partition(" ")[2] for line in logs.read(pod, follow=False)]
    rows = list(client.metrics(JOB))
    assert [(row.step, row.loss, row.tokens_per_second) for row in rows] == [(1, 3.99, 5000.0), (2, 3.98, 5000.0)]
    assert list(client.logs(JOB, node=1)) == []

    follower = client.metrics(JOB, follow=True)
    assert [(await asyncio.to_thread(next, follower)).step for _ in range(2)] == [1, 2]
    logs.write(pod, step(3))
    assert (await asyncio.to_thread(next, follower)).step == 3
    await world.report(3, phase=TrainerPhase.SUCCEEDED)
    for name in await world.pod_names():
        await world.end(name, 0)
    await world.reconcile()
    logs.end(pod)
    assert await asyncio.to_thread(list, follower) == []
