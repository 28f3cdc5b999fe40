"""Objects for tests, one thing said per call: `make_pod(job, 1).running().build()`.

A job is parsed from the API server's JSON and a pod is read from it, so that the readers are under test as well.
Builders are frozen: each call gives a new one.
"""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from neuron_api import contract
from neuron_api.resource.job import NeuronTrainingJob, parse
from neuron_api.resource.progress import CheckpointReport, ProcessFailure, Progress, Recovery, TrainerPhase
from neuron_api.resource.status import JobStatus
from neuron_operator import failure_rules
from neuron_operator.planning.objects import desired, naming
from neuron_operator.planning.observation import pods
from neuron_operator.planning.observation.observation import Child, ConfigText, Observed, Pod
from neuron_operator.planning.options import IMAGE_KINDS, Options
from neuron_operator.planning.scheduling.registry import ADAPTERS
from neuron_operator.planning.validation import validation
from neuron_operator.planning.validation.validation import Accepted

Json = dict[str, Any]

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
OPTIONS = Options(
    failures=failure_rules.built_in(),
    images={kind: f"trainer:{kind}" for kind in IMAGE_KINDS},
    gang_schedulers=frozenset(ADAPTERS),
)


def at(seconds: float) -> datetime:
    """A moment, in seconds from NOW."""
    return NOW + timedelta(seconds=seconds)


def rfc3339(moment: datetime) -> str:
    """As the API server writes it."""
    return moment.isoformat().replace("+00:00", "Z")


# ---- jobs --------------------------------------------------------------------------------------------------------

_CONFIG: Json = {
    "name": "tiny",
    "model_source": "hf",
    "seed": 1,
    "trainer": {"devices": 2, "num_nodes": 1, "max_steps": 100, "max_epochs": -1},
    "exp_manager": {
        "exp_dir": "/training/experiments",
        "name": "tiny",
        "resume_if_exists": True,
        "resume_ignore_no_checkpoint": True,
        "create_checkpoint_callback": True,
        "checkpoint_callback_params": {"save_top_k": 2, "every_n_train_steps": 10},
    },
    "distributed_strategy": {"tensor_model_parallel_size": 2},
    "data": {"micro_batch_size": 1, "global_batch_size": 24, "train_dir": "/training/data"},
    "model": {
        "model_config": "/training/model/config.json",
        "encoder_seq_length": 128,
        "optim": {"name": "adamw_fp32OptState", "lr": 0.003},
    },
    "precision": {"type": "fp32"},
}


@dataclass(frozen=True)
class JobBuilder:
    """A NeuronTrainingJob on the CPU with one claim, which nothing is wrong with."""

    body: Json

    def nodes(self, count: int) -> Self:
        return self.config("trainer.num_nodes", count)

    def config(self, path: str, value: object) -> Self:
        """Set one key of the configuration."""
        *parents, key = path.split(".")
        new = self._copy()
        target = new.body["spec"]["config"]
        for part in parents:
            target = target.setdefault(part, {})
        target[key] = value
        return new

    def config_from(self, name: str, key: str) -> Self:
        new = self._copy()
        del new.body["spec"]["config"]
        new.body["spec"]["configFrom"] = {"configMapKeyRef": {"name": name, "key": key}}
        return new

    def spec(self, **values: object) -> Self:
        """Set fields of the spec by their names in the API."""
        new = self._copy()
        new.body["spec"] |= copy.deepcopy(values)
        return new

    def metadata(self, **values: object) -> Self:
        new = self._copy()
        new.body["metadata"] |= values
        return new

    def trainium(self, instance_type: str, **devices: object) -> Self:
        """With what spec.platform says about the devices of a node."""
        return self.spec(platform={"instanceType": instance_type, **devices})

    def no_storage(self) -> Self:
        return self.spec(storage=[])

    def storage(self, *mounts: Mapping[str, object]) -> Self:
        return self.spec(storage=list(mounts))

    def pod_template(self, template: Mapping[str, object]) -> Self:
        return self.spec(podTemplate=template)

    def restart_policy(self, **values: int) -> Self:
        return self.spec(restartPolicy=values)

    def cannot_resume(self) -> Self:
        return self.config("exp_manager.resume_if_exists", False)

    def being_deleted(self) -> Self:
        return self.metadata(deletionTimestamp=rfc3339(NOW))

    def status(self, status: JobStatus) -> Self:
        """Goes through JSON, as it does in a cluster."""
        new = self._copy()
        new.body["status"] = status.model_dump(mode="json", by_alias=True, exclude_none=True)
        return new

    def build(self) -> NeuronTrainingJob:
        return parse(copy.deepcopy(self.body))

    def _copy(self) -> Self:
        return replace(self, body=copy.deepcopy(self.body))


def make_job(name: str = "tiny") -> JobBuilder:
    return JobBuilder(
        {
            "apiVersion": contract.API_VERSION,
            "kind": contract.KIND,
            "metadata": {
                "name": name,
                "namespace": "team",
                "uid": f"uid-of-{name}",
                "generation": 1,
                "resourceVersion": "7",
                "creationTimestamp": rfc3339(NOW),
            },
            "spec": {
                "platform": {"accelerator": "CPU"},
                "storage": [{"claimName": "training", "mountPath": "/training"}],
                "config": copy.deepcopy(_CONFIG),
            },
        }
    )


def with_status(job: NeuronTrainingJob, **values: Any) -> NeuronTrainingJob:
    """The job with another status, or with some fields of its status changed."""
    return job.model_copy(update={"status": job.status.model_copy(update=values)})


def accepted(job: NeuronTrainingJob, options: Options = OPTIONS) -> Accepted:
    """What the gate says about a job that nothing is wrong with."""
    gate = validation.validate(job, ConfigText(validation.config_text(job)), options)
    assert isinstance(gate, Accepted), gate
    return gate


# ---- pods --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PodBuilder:
    """A pod as the API server has it; freshly created, on no node."""

    body: Json

    def uid(self, uid: str) -> Self:
        return self._with("metadata", uid=uid)

    def labels(self, **labels: str) -> Self:
        return self._with("metadata", labels=self.body["metadata"]["labels"] | labels)

    def on(self, node: str) -> Self:
        return self._with("spec", nodeName=node)._condition("PodScheduled", "True")

    def running(self) -> Self:
        """The trainer's container runs, its launcher does not answer yet."""
        placed = self if "nodeName" in self.body["spec"] else self.on("node-0")
        return placed._with("status", phase="Running", podIP="10.0.0.1")._container(
            {"running": {"startedAt": rfc3339(NOW)}}
        )

    def ready(self) -> Self:
        return self.running()._condition("Ready", "True")

    def failed(self, exit_code: int, message: str = "", reason: str = "Error", at: datetime = NOW) -> Self:
        return self._ended("Failed", exit_code, message, reason, at)

    def oom_killed(self) -> Self:
        return self.failed(137, reason="OOMKilled")

    def succeeded(self) -> Self:
        return self._ended("Succeeded", 0, "", "Completed", NOW)

    def exited(self, exit_code: int) -> Self:
        """The trainer's container has ended, another one of the pod runs on."""
        ended = self._ended("Running", exit_code, "", "Completed" if exit_code == 0 else "Error", NOW)
        return ended._container({"running": {}}, name="sidecar")

    def terminating(self) -> Self:
        return self._with("metadata", deletionTimestamp=rfc3339(NOW), deletionGracePeriodSeconds=120)._condition(
            "Ready", "False"
        )

    def disrupted(self, reason: str = "EvictionByEvictionAPI") -> Self:
        """Something of the cluster's has chosen this pod to go."""
        return self._condition("DisruptionTarget", "True", reason)

    def turned_away(self, reason: str, message: str = "") -> Self:
        """Ended by the kubelet before any container was started, or without a word about it."""
        return self._with("status", phase="Failed", reason=reason, message=message)

    def unschedulable(self, message: str) -> Self:
        return self._condition("PodScheduled", "False", "Unschedulable", message)

    def waiting(self, reason: str, message: str = "", image: str = "trainer:cpu") -> Self:
        placed = self if "nodeName" in self.body["spec"] else self.on("node-0")
        return placed._container({"waiting": {"reason": reason, "message": message}}, image=image)

    def init_failed(self, exit_code: int, message: str = "") -> Self:
        """An init container has failed; the trainer's was never started."""
        ended = self.waiting("PodInitializing")._with("status", phase="Failed")
        state = {"terminated": {"exitCode": exit_code, "reason": "Error", "message": message}}
        return ended._with("status", initContainerStatuses=[{"name": "fetch", "image": "busybox", "state": state}])

    def build(self) -> Pod:
        pod = pods.read(copy.deepcopy(self.body))
        assert pod is not None
        return pod

    def _ended(self, phase: str, code: int, message: str, reason: str, at: datetime) -> Self:
        state: Json = {"exitCode": code, "reason": reason, "finishedAt": rfc3339(at.replace(microsecond=0))}
        if message:
            state["message"] = message
        placed = self if "nodeName" in self.body["spec"] else self.on("node-0")
        return (
            placed._with("status", phase=phase)._condition("Ready", "False")._container({"terminated": state})
        )  # fmt: skip

    def _container(self, state: Json, *, name: str = contract.CONTAINER, image: str = "trainer:cpu") -> Self:
        status = self.body["status"]
        others = [one for one in status.get("containerStatuses", []) if one["name"] != name]
        return self._with("status", containerStatuses=[*others, {"name": name, "image": image, "state": state}])

    def _condition(self, kind: str, status: str, reason: str = "", message: str = "") -> Self:
        others = [one for one in self.body["status"].get("conditions", []) if one["type"] != kind]
        one = {"type": kind, "status": status, "reason": reason, "message": message}
        return self._with("status", conditions=[*others, one])

    def _with(self, part: str, **values: object) -> Self:
        body = copy.deepcopy(self.body)
        body[part] |= values
        return replace(self, body=body)


def make_pod(job: NeuronTrainingJob, index: int = 0, attempt: int = 0) -> PodBuilder:
    gate = validation.validate(job, ConfigText(validation.config_text(job)), OPTIONS)
    count = gate.topology.num_nodes if isinstance(gate, Accepted) else 1
    return PodBuilder(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": naming.pod(job, attempt, index, count),
                "namespace": job.metadata.namespace,
                "uid": f"pod-{attempt}-{index}",
                "labels": {
                    contract.LABEL_JOB: job.metadata.name,
                    contract.LABEL_JOB_UID: job.metadata.uid,
                    contract.LABEL_ATTEMPT: str(attempt),
                    contract.LABEL_NODE_RANK: str(index),
                },
                "ownerReferences": [desired.owner_reference(job)],
            },
            "spec": {"restartPolicy": "Never"},
            "status": {"phase": "Pending"},
        }
    )


def running_gang(job: NeuronTrainingJob, attempt: int = 0) -> list[PodBuilder]:
    """Every pod of an attempt, up and answering, each on a node of its own."""
    count = accepted(job).topology.num_nodes
    return [make_pod(job, index, attempt).on(f"node-{index}").ready() for index in range(count)]


# ---- reports -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReportBuilder:
    """What the launcher of one pod says; it has just begun."""

    progress: Progress

    def round(self, number: int) -> Self:
        return self._with(round=number)

    def phase(self, phase: TrainerPhase) -> Self:
        return self._with(phase=phase)

    def step(self, step: int, when: datetime = NOW, **numbers: object) -> Self:
        """It trains, and has finished a step."""
        return self._with(phase=TrainerPhase.TRAINING, step=step, last_step_time=when, **numbers)

    def started(self, when: datetime) -> Self:
        return self._with(start_time=when)

    def checkpoint(self, step: int) -> Self:
        found = CheckpointReport(step=step, path=f"/training/step={step}.ckpt", time=NOW)
        return self._with(checkpoint=found)

    def failure(self, round: int, rank: int, exit_code: int = 1, when: datetime = NOW, **values: Any) -> Self:
        one = ProcessFailure(time=when, round=round, rank=rank, local_rank=rank % 2, exit_code=exit_code, **values)
        return self._with(failures=(*self.progress.failures, one))

    def recovery(self, round: int, resumed: int, lost: int, first_step: datetime | None = None) -> Self:
        one = Recovery(round=round, resumed_from_step=resumed, steps_lost=lost, first_step_time=first_step)
        return self._with(recoveries=(*self.progress.recoveries, one))

    def build(self) -> Progress:
        return self.progress

    def _with(self, **values: Any) -> Self:
        return replace(self, progress=self.progress.model_copy(update=values))


def make_report(pod: Pod, job: NeuronTrainingJob, started: datetime = NOW) -> ReportBuilder:
    return ReportBuilder(
        Progress(
            job_uid=job.metadata.uid,
            attempt=pod.attempt,
            node_rank=pod.index,
            pod_uid=pod.uid,
            phase=TrainerPhase.LOADING,
            start_time=started,
        )
    )


# ---- observations ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Children:
    """Service and ConfigMap of a job, as the API server has them after an apply."""

    service: Child
    config_map: Child


def children(job: NeuronTrainingJob) -> Children:
    bodies = desired.service(job), desired.config_map(job, validation.config_text(job))
    service, config_map = (pods.child({**body, "metadata": {**body["metadata"], "uid": "x"}}) for body in bodies)
    assert service and config_map
    return Children(service, config_map)


def observed(
    job: NeuronTrainingJob,
    pods: Iterable[Pod | PodBuilder] = (),
    reports: Iterable[Progress | ReportBuilder] = (),
    **values: Any,
) -> Observed:
    """What a pass sees: Service and ConfigMap are there, the configuration is the job's own."""
    own = children(job)
    found = [report.build() if isinstance(report, ReportBuilder) else report for report in reports]
    defaults: Json = {
        "config": ConfigText(validation.config_text(job)),
        "service": own.service,
        "config_map": own.config_map,
    }
    return Observed(
        job=job,
        pods=tuple(pod.build() if isinstance(pod, PodBuilder) else pod for pod in pods),
        reports={report.node_rank: report for report in found},
        **{**defaults, **values},
    )
