"""A cluster in memory with so many free nodes, on which one elastic job lives: plans are carried out at once, a
scheduler places pods while there are nodes, and a gang that is complete trains.

The clock is injected. Pods are the bodies that the planner makes, read as the API server would give them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from builders import NOW, OPTIONS, JobBuilder, children, make_job, observed, rfc3339
from neuron_api import contract
from neuron_api.resource.progress import CheckpointReport, Progress, Recovery, TrainerPhase
from neuron_api.resource.status import JobStatus
from neuron_operator.planning.observation import pods
from neuron_operator.planning.observation.observation import Observed, Pod
from neuron_operator.planning.outcome import finalize_status
from neuron_operator.planning.plan import Create, Plan, PlanOutcome
from neuron_operator.planning.planner import plan

MAX_PASSES = 12
SAVE_EVERY = 10
SHRINK, GROW = 30, 60


@dataclass
class ElasticCluster:
    """See the module."""

    job: JobBuilder
    capacity: int
    neighbours: list["ElasticCluster"] = field(default_factory=list)
    """Jobs on the same nodes, this one among them; none: it has them alone."""
    status: JobStatus = field(default_factory=JobStatus)
    bodies: dict[str, dict[str, Any]] = field(default_factory=dict)
    now: datetime = NOW
    step: int = 0
    saved: int = 0
    saved_time: datetime = NOW
    step_time: datetime | None = None
    started: datetime = NOW
    recoveries: tuple[Recovery, ...] = ()
    uids: int = 0
    sizes: list[tuple[datetime, int]] = field(default_factory=list)
    """Numbers of nodes of the attempts, each with the time of its decision."""

    # ---- the operator ------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Pass by pass until nothing is left to do; the scheduler places what it can in between."""
        for _ in range(MAX_PASSES):
            if not self.reconcile():
                return
        raise AssertionError("the operator and the scheduler go on for ever")

    def reconcile(self, kill_after: int | None = None) -> bool:
        """One pass; return whether anything happened. It is killed after so many writes, and saves no status then."""
        planned = plan(self.observe(), OPTIONS, self.now)
        writes = self._writes(planned)
        created: dict[int, str] = {}
        for write in writes[:kill_after]:
            created |= write()
        placed = not self.neighbours and self.schedule()
        if kill_after is not None and kill_after <= len(writes):
            return True
        status = finalize_status(planned, PlanOutcome(created), self.now)
        changed = status != self.status
        self.status = JobStatus.model_validate_json(status.model_dump_json(by_alias=True, exclude_none=True))
        if status.elastic and (not self.sizes or self.sizes[-1][1] != status.elastic.nodes):
            self.sizes.append((self.now, status.elastic.nodes))
        return bool(writes) or changed or placed

    def observe(self) -> Observed:
        job = self.job.status(self.status).build()
        report = self._report()
        own = children(job)
        return observed(job, self.pods(), [report] if report else [], service=own.service, config_map=own.config_map)

    def pods(self) -> list[Pod]:
        found = [pods.read(body) for body in self.bodies.values()]
        return [pod for pod in found if pod is not None]

    def _writes(self, planned: Plan) -> list[Any]:
        deletes = [lambda name=delete.name: self._delete(name) for delete in planned.deletes]
        creates = [lambda create=create: self._create(create) for create in planned.creates]
        standbys = [lambda create=create: self._create(create) and {} for create in planned.standbys]
        return [*deletes, *standbys, *creates]

    def _delete(self, name: str) -> dict[int, str]:
        if name in self.gang() and self.trains():
            self.saved, self.saved_time = self.step, self.now  # SIGTERM: the pods of a whole gang save
        del self.bodies[name]
        return {}

    def _create(self, create: Create) -> dict[int, str]:
        if create.name not in self.bodies:
            self.uids += 1
            metadata = {**create.body["metadata"], "uid": f"uid-{self.uids}", "creationTimestamp": rfc3339(self.now)}
            self.bodies[create.name] = {**create.body, "metadata": metadata, "status": {"phase": "Pending"}}
        return {create.index: str(self.bodies[create.name]["metadata"]["uid"])}

    # ---- the scheduler and the kubelets ------------------------------------------------------------------------------

    def schedule(self) -> bool:
        """Place pods on free nodes, oldest first, those of several jobs in turns; return whether any was."""
        jobs = self.neighbours or [self]
        every = [body for job in jobs for body in job.bodies.values()]
        waiting = sorted((body for body in every if "nodeName" not in body["spec"]), key=_queue_order)
        taken = {body["spec"]["nodeName"] for body in every if "nodeName" in body["spec"]}
        free = [name for number in range(self.capacity) if (name := f"node-{number}") not in taken]
        for body, node in zip(waiting, free, strict=False):
            body["spec"] = {**body["spec"], "nodeName": node}
            container = {"name": contract.CONTAINER, "image": "i", "state": {"running": {"startedAt": self._text}}}
            body["status"] = {
                "phase": "Running",
                "podIP": "10.0.0.1",
                "conditions": [
                    {"type": "PodScheduled", "status": "True", "lastTransitionTime": self._text},
                    {"type": "Ready", "status": "True"},
                ],
                "containerStatuses": [container],
            }
            self.started = self.now
        for body in waiting[len(free) :]:
            word = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/4 nodes fit."}
            body["status"] = {"phase": "Pending", "conditions": [word]}
        return bool(waiting and free)

    def lose_node(self, count: int = 1) -> None:
        """The last nodes go, with the pods on them."""
        for _ in range(count):
            self.capacity -= 1
            name = f"node-{self.capacity}"
            self.bodies = {key: body for key, body in self.bodies.items() if body["spec"].get("nodeName") != name}

    # ---- the trainer -------------------------------------------------------------------------------------------------

    def trains(self) -> bool:
        """Return whether all pods of the attempt run."""
        gang = self.gang()
        label = next(iter(gang.values()))["metadata"]["labels"].get(contract.LABEL_NODES) if gang else None
        nodes = int(label) if label else int(self.job.body["spec"]["config"]["trainer"]["num_nodes"])
        return len(gang) == nodes and all("nodeName" in body["spec"] for body in gang.values())

    def gang(self) -> Mapping[str, dict[str, Any]]:
        return {n: body for n, body in self.bodies.items() if contract.LABEL_STANDBY not in body["metadata"]["labels"]}

    def standbys(self) -> list[str]:
        return [name for name in self.bodies if name not in self.gang()]

    def tick(self, stride: int) -> None:
        """Time passes: a gang that is complete makes a step each second and saves every ten."""
        self.now += timedelta(seconds=stride)
        if self.trains():
            self.resume()
            before, self.step, self.step_time = self.step, self.step + stride, self.now
            if self.step // SAVE_EVERY > before // SAVE_EVERY:
                self.saved, self.saved_time = self.step, self.now

    def advance(self, seconds: int, stride: int = 1) -> None:
        """The operator looks after each stride of time."""
        for _ in range(0, seconds, stride):
            self.tick(stride)
            self.settle()

    def resume(self) -> None:
        """A gang of new pods goes on from the newest checkpoint."""
        host = next(iter(self.gang().values()))["metadata"]
        known = self.status.progress.pod_uid if self.status.progress else ""
        if self.step and known != host["uid"] and not self.recoveries:
            lost, self.step = self.step - self.saved, self.saved
            first = self.now + timedelta(milliseconds=1)
            recovery = Recovery(round=0, resumed_from_step=self.saved, steps_lost=lost, first_step_time=first)
            self.recoveries = (recovery,)
            self.step_time = None

    def _report(self) -> Progress | None:
        gang = self.gang()
        if not self.trains() or not self.step:
            self.recoveries = ()
            return None
        host = next(body for body in gang.values() if body["metadata"]["labels"][contract.LABEL_NODE_RANK] == "0")
        attempt = int(host["metadata"]["labels"][contract.LABEL_ATTEMPT])
        checkpoint = CheckpointReport(step=self.saved, path="/c", time=self.saved_time) if self.saved else None
        return Progress(
            job_uid=host["metadata"]["labels"][contract.LABEL_JOB_UID], attempt=attempt, node_rank=0,
            pod_uid=host["metadata"]["uid"], phase=TrainerPhase.TRAINING, step=self.step,
            last_step_time=self.step_time, start_time=self.started, recoveries=self.recoveries, checkpoint=checkpoint,
        )  # fmt: skip

    @property
    def _text(self) -> str:
        return rfc3339(self.now)

    @property
    def nodes(self) -> int:
        """Nodes of the current attempt."""
        assert self.status.elastic is not None
        return self.status.elastic.nodes


def _queue_order(body: Mapping[str, Any]) -> tuple[str, int, str]:
    metadata = body["metadata"]
    return metadata["creationTimestamp"], int(metadata["labels"][contract.LABEL_NODE_RANK]), metadata["name"]


def advance_together(jobs: list[ElasticCluster], seconds: int, stride: int = 5) -> None:
    """Time passes for jobs on the same nodes; the scheduler places pods when every job has been looked at."""
    for _ in range(0, seconds, stride):
        for job in jobs:
            job.tick(stride)
        for _ in range(2 * MAX_PASSES):
            if not any([*map(ElasticCluster.reconcile, jobs), jobs[0].schedule()]):
                break
        else:
            raise AssertionError("the operator and the scheduler go on for ever")


def elastic(own: int = 4, **policy: object) -> JobBuilder:
    """Of 4 nodes with 2 processes each, tensor parallel 2, global batch 24: data parallel is the number of nodes."""
    bounds = {"minNodes": 2, "shrinkAfterSeconds": SHRINK, "growAfterSeconds": GROW}
    return make_job().nodes(own).spec(elasticPolicy=bounds | policy)


def training(capacity: int = 4, seconds: int = 25, **policy: object) -> ElasticCluster:
    cluster = ElasticCluster(elastic(**policy), capacity)
    cluster.settle()
    cluster.advance(seconds)
    return cluster


def with_nodes(cluster: ElasticCluster, nodes: int) -> None:
    """The user changes spec.elasticPolicy.nodes."""
    policy = {**cluster.job.body["spec"]["elasticPolicy"], "nodes": nodes}
    cluster.job = cluster.job.spec(elasticPolicy=policy)


def causes(cluster: ElasticCluster) -> list[object]:
    return [entry.cause for entry in cluster.status.restarts]
