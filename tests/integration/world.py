"""One namespace of the API server: a job, its pods, the kubelet's part of them, and the operator pass by pass."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import yaml

from bounds import BOUND
from controlplane.controlplane import ControlPlane
from neuron_api import contract
from neuron_api.resource.job import NeuronTrainingJob, parse
from neuron_api.resource.progress import CheckpointReport, Progress, TrainerPhase
from neuron_operator.controller import Controller
from neuron_operator.kube import gateway as api
from neuron_operator.kube.event_recorder import Recorder
from neuron_operator.kube.gateway import Cluster
from neuron_operator.monitoring.metrics import Metrics
from neuron_operator.planning.observation.observation import Pod
from neuron_operator.planning.options import Options
from neuron_operator.queue.workqueue import JobKey
from neuron_operator.readers.progress_reader import ProgressReader
from neuron_operator.status_writer import StatusThrottle, StatusWriter

Json = dict[str, Any]
T = TypeVar("T")

ROOT = Path(__file__).parents[2]
JOB = "tiny"
IMAGE = "trainer.example/cpu:1"


def utc() -> datetime:
    return datetime.now(UTC)


async def until(what: str, condition: Callable[[], Awaitable[T | None]], bound: float = BOUND) -> T:
    """Poll until the condition gives something; fail with its name."""
    deadline = time.monotonic() + bound
    while time.monotonic() < deadline:
        if found := await condition():
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(f"waited {bound:.0f} s for {what}")


def manifest(name: str = JOB, **config: Any) -> Json:
    """The quickstart job without its ConfigMap of a model; `config` are dotted keys with `__` for the dot."""
    documents = yaml.safe_load_all((ROOT / "examples" / "quickstart.yaml").read_text())
    job: Json = next(document for document in documents if document["kind"] == contract.KIND)
    job["metadata"]["name"] = name
    for key, value in config.items():
        *parents, last = key.split("__")
        node = job["spec"]["config"]
        for parent in parents:
            node = node.setdefault(parent, {})
        if value is None:
            node.pop(last, None)
        else:
            node[last] = value
    return job


class Reports:
    """Stands in for the launchers' HTTP servers: what each pod would answer."""

    def __init__(self) -> None:
        self.by_index: dict[int, Progress] = {}

    async def read(self, pod: Pod) -> Progress | None:
        """See `ProgressReader`."""
        return self.by_index.get(pod.index)


class World:
    """See the module."""

    def __init__(self, plane: ControlPlane, cluster: Cluster, namespace: str) -> None:
        self.plane, self.cluster, self.namespace = plane, cluster, namespace
        self.reports, self.metrics = Reports(), Metrics()
        self.key = JobKey(namespace, JOB)
        self.options = Options(images={"cpu": IMAGE})
        self._started: dict[str, datetime] = {}
        """When each pod's launcher was first heard of."""

    async def prepare(self) -> None:
        """The claim of the quickstart job, and the service account that admission asks for."""
        claim = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "training", "namespace": self.namespace},
            "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}},
        }
        await self.cluster.create(api.CLAIM, claim)
        accounts = api.Kind("v1", "serviceaccounts")
        await until("the default service account", lambda: self.cluster.find(accounts, self.namespace, "default"))

    # ---- the user ---------------------------------------------------------------------------------------------------

    def kubectl(self, *arguments: str, stdin: Json | None = None) -> str:
        """As a user would; raises `CommandFailed` with the server's words."""
        text = yaml.safe_dump(stdin) if stdin is not None else None
        return self.plane.kubectl("--namespace", self.namespace, *arguments, stdin=text)

    def apply(self, job: Json) -> str:
        """`kubectl apply -f -`."""
        return self.kubectl("apply", "-f", "-", stdin=job)

    # ---- the operator -----------------------------------------------------------------------------------------------

    def controller(
        self,
        cluster: Cluster | None = None,
        reports: ProgressReader | None = None,
        clock: Callable[[], datetime] = utc,
    ) -> Controller:
        """A freshly started operator."""
        used = cluster or self.cluster
        recorder = Recorder(used, "test", clock)
        return Controller(
            used, reports or self.reports, recorder, self.metrics, self.options, clock, StatusThrottle(0.0),
            StatusWriter(used, recorder, self.metrics.status_refused),
        )  # fmt: skip

    async def reconcile(self, controller: Controller | None = None, passes: int = 20) -> float | None:
        """Pass by pass until nothing is wanted at once; the seconds until the next look."""
        one = controller or self.controller()
        for _ in range(passes):
            result = await one.reconcile(self.key)
            if result.requeue_after != 0.0:
                return result.requeue_after
        raise AssertionError(f"the operator still has something to do after {passes} passes")

    # ---- what is there ----------------------------------------------------------------------------------------------

    async def job(self) -> NeuronTrainingJob:
        """As stored."""
        return parse(await self.cluster.get(api.JOB, self.namespace, JOB))

    async def pods(self) -> list[Json]:
        """Of the job, by name."""
        listed = await self.cluster.list(api.POD, self.namespace, contract.LABEL_JOB)
        return sorted(listed, key=lambda pod: str(pod["metadata"]["name"]))

    async def pod_names(self) -> list[str]:
        return [pod["metadata"]["name"] for pod in await self.pods()]

    async def condition(self, kind: str) -> tuple[str, str, str]:
        """Status, reason and message."""
        found = next(c for c in (await self.job()).status.conditions if c.type == kind)
        return found.status.value, str(found.reason), found.message

    # ---- the kubelet and the launchers ------------------------------------------------------------------------------

    async def kubelet(self, name: str, **status: Any) -> None:
        """Write a part of a pod's status."""
        body = await self.cluster.get(api.POD, self.namespace, name)
        body["status"] = {**body.get("status", {}), **status}
        await self.cluster.replace(api.POD, body, "status")

    async def run(self, name: str, address: str = "10.0.0.1") -> None:
        """The container runs and its probe succeeds."""
        await self.kubelet(
            name,
            phase="Running",
            podIP=address,
            podIPs=[{"ip": address}],
            conditions=[{"type": "Ready", "status": "True"}],
            containerStatuses=[container({"running": {"startedAt": now_text()}}, ready=True)],
        )

    async def run_all(self) -> None:
        """All pods of the job."""
        for name in await self.pod_names():
            await self.run(name)

    async def end(self, name: str, code: int, message: str = "", reason: str = "") -> None:
        """The container ends."""
        ended = {"exitCode": code, "finishedAt": now_text(), "message": message}
        ended["reason"] = reason or ("Completed" if code == 0 else "Error")
        await self.kubelet(
            name,
            phase="Succeeded" if code == 0 else "Failed",
            conditions=[{"type": "Ready", "status": "False"}],
            containerStatuses=[container({"terminated": ended})],
        )

    async def waiting(self, name: str, reason: str, message: str) -> None:
        """The container cannot be started."""
        status = [container({"waiting": {"reason": reason, "message": message}})]
        await self.kubelet(name, phase="Pending", containerStatuses=status)

    async def report(
        self, step: int, *, phase: TrainerPhase = TrainerPhase.TRAINING, round: int = 0, **more: Any
    ) -> None:
        """What pod 0's launcher says now."""
        host = (await self.pods())[0]["metadata"]
        values: dict[str, Any] = {
            "pod_uid": host["uid"],
            "attempt": int(host["labels"][contract.LABEL_ATTEMPT]),
            "phase": phase,
            "step": step,
            "round": round,
            "loss": 4.0 - step / 100,
            "max_steps": 240,
            "last_step_time": utc() if step else None,
            "start_time": self._started.setdefault(host["uid"], utc()),
            "checkpoint": CheckpointReport(step=step, path=f"/training/{step}.ckpt", time=utc()) if step else None,
        }
        self.reports.by_index[0] = Progress(**(values | more))

    async def start(self, **config: Any) -> None:
        """Apply the job, let the operator create the pods, let them run to step 20."""
        self.apply(manifest(**config))
        await self.reconcile()
        await self.run_all()
        await self.report(20)
        await self.reconcile()


def container(state: Json, *, ready: bool = False) -> Json:
    """A container status of the trainer."""
    return {
        "name": contract.CONTAINER,
        "image": IMAGE,
        "imageID": "",
        "ready": ready,
        "restartCount": 0,
        "state": state,
    }


def now_text() -> str:
    return utc().strftime("%Y-%m-%dT%H:%M:%SZ")
