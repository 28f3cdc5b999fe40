"""A cluster in memory that carries out plans, and a trainer that lives, fails and ends in it.

What the API server guarantees is kept: names are unique, a delete is for one UID, a graceful delete takes its time.
The reads are those of `observe`. The truth about what happened is kept beside it, for the tests to compare with.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import count
from typing import Any

from builders import NOW, OPTIONS, children, make_job, rfc3339
from neuron_api import contract
from neuron_api.resource.job import NeuronTrainingJob
from neuron_api.resource.progress import ProcessFailure, Progress, Recovery, TrainerPhase
from neuron_api.resource.status import JobStatus
from neuron_operator.planning.cache_safety import requires_live_read
from neuron_operator.planning.observation import nodes
from neuron_operator.planning.observation.observation import ConfigText, Node, Observed, Pod
from neuron_operator.planning.outcome import finalize_status
from neuron_operator.planning.plan import Create, Delete, Plan, PlanOutcome
from neuron_operator.planning.planner import plan
from neuron_operator.planning.restarts import ledger
from neuron_operator.planning.validation import validation
from unit.operator.simulated_pod import Launcher, SimPod, away

Json = dict[str, Any]
JOINED = (TrainerPhase.LOADING, TrainerPhase.TRAINING)
LAST_STEP = 5


@dataclass(frozen=True)
class Failed:
    """A process that failed by itself: the truth that the ledger is to tell."""

    attempt: int
    host: str
    """UID of pod 0 in whose rounds it is counted."""
    pod: str
    round: int
    """Of pod 0."""
    rank: int
    time: datetime


@dataclass
class Cluster:
    """One job on its nodes."""

    job: NeuronTrainingJob
    status: JobStatus = field(default_factory=JobStatus)
    pods: dict[str, SimPod] = field(default_factory=dict)
    now: datetime = NOW
    gone_nodes: set[str] = field(default_factory=set)
    sick: set[str] = field(default_factory=set)
    """Nodes that say that their hardware is broken."""
    silent: set[str] = field(default_factory=set)
    """Nodes that do not answer."""
    at_fault: set[str] = field(default_factory=set)
    """Nodes on which something failed by itself, rather than because of another."""
    claim_missing: bool = False
    applied: bool = False
    heard: tuple[Pod, ...] = ()
    """Pods as a second operator knows them, whose watch has brought nothing since the last pass began that looked."""
    deleted_job: bool = False
    """spec.ttlDeletionPolicy: the job is gone, and nobody looks at it any more."""
    step: int = 0
    checkpoint: int = 0
    uids: int = 0
    history: list[JobStatus] = field(default_factory=list)
    lost: dict[str, int] = field(default_factory=dict)
    """UID to attempt of pods that were lost, and that the status knew."""
    counted: int = 0
    """Pods that ended by their own fault, and processes whose failure may be their node's."""
    hung: int = 0
    failed: list[Failed] = field(default_factory=list)
    to_tell: list[Failed] = field(default_factory=list)
    """Those that could be heard of before training went on."""

    @classmethod
    def of(cls, nodes: int = 2, max_gang_restarts: int = 2) -> "Cluster":
        return cls(make_job().nodes(nodes).restart_policy(maxGangRestarts=max_gang_restarts).build())

    def __post_init__(self) -> None:
        self.size = int((self.job.spec.config or {})["trainer"]["num_nodes"])
        self._text, self._children = validation.config_text(self.job), children(self.job)

    # ---- what observe reads --------------------------------------------------------------------------------------

    def observe(self, heard: tuple[Pod, ...] | None = None) -> Observed:
        found = tuple(pod.seen() for pod in self.pods.values()) if heard is None else heard
        names = {pod.node for pod in found if not pod.ready} | {record.node for record in self.status.pods}
        opened = {entry.node for entry in ledger.open_entries(self.status) if entry.attempt == self.status.attempt}
        return Observed(
            job=self.job.model_copy(update={"status": self.status}),
            config=ConfigText(self._text),
            pods=found,
            service=self._children.service if self.applied else None,
            config_map=self._children.config_map if self.applied else None,
            missing_claims=("training",) if self.claim_missing else (),
            lost_nodes=frozenset(names & self.gone_nodes),
            nodes={name: self._node(name) for name in sorted((names | opened) - self.gone_nodes - {""})},
            reports={} if self.status.finished else self._reports(),
        )

    def _node(self, name: str) -> Node:
        healthy, ready = (("False" if name in bad else "True") for bad in (self.sick, self.silent))
        told = {"NeuronHealthy": healthy, "Ready": ready}
        return nodes.read(
            {
                "metadata": {"name": name},
                "status": {
                    "conditions": [
                        {"type": kind, "status": status, "lastTransitionTime": rfc3339(NOW)}
                        for kind, status in told.items()
                    ]
                },
            }
        )

    def _reports(self) -> dict[int, Progress]:
        running = {p.index: p for p in self.pods.values() if p.alive and p.attempt == self.status.attempt}
        answers = {index: self._report(pod) for index, pod in running.items() if pod.launcher.reachable}
        if 0 not in answers:
            return {}
        everybody = ledger.needs_every_report(self.status, answers[0], running[0].uid)
        return answers if everybody else {0: answers[0]}

    def _report(self, pod: SimPod) -> Progress:
        launcher = pod.launcher
        assert launcher is not None
        return Progress(
            job_uid=self.job.metadata.uid, attempt=pod.attempt, node_rank=pod.index, pod_uid=pod.uid,
            phase=launcher.phase, round=max(0, launcher.rounds - 1), step=self.step if launcher.rounds else 0,
            last_step_time=launcher.last_step_time, start_time=launcher.started, failures=launcher.failures[-32:],
            recoveries=launcher.recoveries[-32:], idle_seconds=1e6 if launcher.hung else 0.0,
        )  # fmt: skip

    # ---- what the controller does --------------------------------------------------------------------------------

    def reconcile(
        self, kill_after: int | None = None, *, conflict: bool = False, behind: bool = False
    ) -> tuple[Plan, bool]:
        """One pass; killed after so many writes, or its status write refused. Tells whether there was work.

        `behind`: a second operator's, which knows pods as they were, and looks at them only where that would not do.
        """
        self.now += timedelta(milliseconds=10)
        seen = self.observe(self.heard if behind else None)
        planned = plan(seen, OPTIONS, self.now)
        if behind and requires_live_read(planned, seen):
            seen = self.observe()
            planned = plan(seen, OPTIONS, self.now)
        self.heard = seen.pods
        writes, created = [] if self.deleted_job else self._writes(planned), dict[int, str]()
        for write in writes[:kill_after]:
            created |= write()
        status = finalize_status(planned, PlanOutcome(created), self.now)
        worked = bool(writes) or status != self.status
        killed = kill_after is not None and kill_after <= len(writes)
        if status != self.status and not killed and not conflict:
            self._save(status)
        return planned, worked

    def _writes(self, planned: Plan) -> list[Callable[[], dict[int, str]]]:
        return [
            *(partial(self._delete, one) for one in planned.deletes),
            *(self._apply for _ in planned.applies),
            *(partial(self._create, one) for one in planned.creates),
        ]

    def _apply(self) -> dict[int, str]:
        self.applied = True
        return {}

    def _delete(self, delete: Delete) -> dict[int, str]:
        if delete.kind != "Pod":
            ended, kept = self.status.completion_time, self.job.spec.ttl_seconds_after_finished
            assert ended and kept is not None and (self.now - ended).total_seconds() >= kept, "deleted before its time"
            self.applied, self.deleted_job = False, delete.kind == contract.KIND
            return {}
        pod = self.pods.get(delete.name)
        if pod is not None and pod.uid == delete.uid:
            if delete.force or not pod.node:
                self._remove(pod)
            pod.terminating = True
        return {}

    def _create(self, create: Create) -> dict[int, str]:
        attempt = int(create.body["metadata"]["labels"][contract.LABEL_ATTEMPT])
        assert not self.status.finished, "a job that is over is started again"
        assert attempt == self.status.attempt, "an attempt is acted on before it is saved"
        assert all(pod.attempt == attempt for pod in self.pods.values()), "two attempts at once"
        if create.name not in self.pods:
            self.uids += 1
            pod = SimPod(create.name, f"uid-{self.uids}", create.index, attempt)
            pod.annotations, pod.away = dict(create.body["metadata"].get("annotations", {})), away(create.body["spec"])
            self.pods[create.name] = pod
        return {create.index: self.pods[create.name].uid}

    def _save(self, status: JobStatus) -> None:
        text = status.model_dump_json(by_alias=True, exclude_none=True)
        self.status = JobStatus.model_validate_json(text)
        assert self.status == status, "a status is not what it was after a trip to the API server"
        self.history.append(self.status)

    # ---- what kubelets do ----------------------------------------------------------------------------------------

    def kubelet(self) -> None:
        """Every pod gets as far as it can without the operator: gone, placed, up, in training."""
        for pod in list(self.pods.values()):
            if pod.node in self.gone_nodes or (pod.terminating and not pod.silent):
                self._remove(pod)
        for pod in list(self.pods.values()):
            self.start(pod.index)
        self.rendezvous()

    def start(self, index: int) -> None:
        if (pod := self._pod(index)) and pod.launcher is None and not pod.over and not pod.terminating:
            pod.node = pod.node or self._place(pod)
            pod.launcher = Launcher(self._tick())

    def _place(self, pod: SimPod) -> str:
        """As the scheduler does: the first node that is free, answers, and is not excluded by the pod's affinity."""
        taken = {one.node for one in self.pods.values()} | self.gone_nodes | self.silent | pod.away
        return next(name for number in count() if (name := f"node-{number}") not in taken)

    def rendezvous(self) -> None:
        """A round begins when every launcher waits for it."""
        gang = self._gang()
        if len(gang) < self.size or any(pod.launcher.phase is not TrainerPhase.RENDEZVOUS for pod in gang):
            return
        for pod in gang:
            pod.launcher.phase, pod.launcher.rounds = TrainerPhase.LOADING, pod.launcher.rounds + 1
            pod.launcher.hung = False
        host = gang[0].launcher
        if self.step:
            lost = self.step - self.checkpoint
            number = host.rounds - 1
            host.recoveries += (Recovery(round=number, resumed_from_step=self.checkpoint, steps_lost=lost),)
            self.step = self.checkpoint

    # ---- what happens to a gang ----------------------------------------------------------------------------------

    def finish_step(self) -> None:
        gang = self._gang()
        if len(gang) < self.size or any(pod.launcher.phase not in JOINED for pod in gang) or self.step >= LAST_STEP:
            return
        if any(pod.launcher.hung for pod in gang):
            return
        self.step += 1
        self._forgive(gang)
        for pod in gang:
            pod.launcher.phase, pod.launcher.last_step_time = TrainerPhase.TRAINING, self._tick()
        host = gang[0].launcher
        if host.recoveries and host.recoveries[-1].round == host.rounds - 1 and not host.recoveries[-1].first_step_time:
            first = host.recoveries[-1].model_copy(update={"first_step_time": self.now})
            host.recoveries = (*host.recoveries[:-1], first)

    def hangs(self) -> None:
        """The processes wait for each other, for ever."""
        gang = self._gang()
        if len(gang) == self.size and all(pod.launcher.phase in JOINED for pod in gang) and self.step < LAST_STEP:
            gang[0].launcher.hung = True
            self.hung += 1

    def suspend(self, *, wanted: bool) -> None:
        """The user changes spec.suspend."""
        self.job = self.job.model_copy(update={"spec": self.job.spec.model_copy(update={"suspend": wanted})})

    def save_checkpoint(self) -> None:
        self.checkpoint = self.step

    def process_fails(self, index: int, code: int = -9, *, victims: bool = True, message: str = "") -> None:
        """One process dies, one in each other pod may fail for it, all begin again in their pods."""
        gang = self._gang()
        if len(gang) < self.size or any(pod.launcher.phase not in JOINED for pod in gang):
            return
        self._forgive(gang)
        time, culprit, host = self._tick(), gang[index % self.size], gang[0]
        for pod in gang:
            own = pod is culprit
            pod.launcher.phase = TrainerPhase.RENDEZVOUS
            if not (own or victims):
                continue
            failure = ProcessFailure(
                time=time if own else time + timedelta(milliseconds=3), round=pod.launcher.rounds - 1,
                rank=2 * pod.index, local_rank=0, exit_code=code if own else 1, step=self.step,
                message=message if own else "RuntimeError: Connection closed by peer",
            )  # fmt: skip
            pod.launcher.failures += (failure,)
        self.at_fault.add(culprit.node)
        self.counted += 1  # At most: a fault of the hardware counts where its node cannot be excluded.
        rank, number = 2 * culprit.index, host.launcher.rounds - 1
        failed = Failed(culprit.attempt, host.uid, culprit.uid, number, rank, time)
        self.failed.append(failed)
        self.to_tell.append(failed)

    def exits(self, index: int, code: int, reason: str = "Error") -> None:
        """A launcher ends; 0 only when the last step has been finished."""
        pod = self._pod(index)
        if pod is None or not pod.alive or (code == 0 and self.step < LAST_STEP):
            return
        stopping = self.status.suspension is not None and self.status.suspension.stop_time is not None
        self.counted += code in (1, 137) and not pod.terminating and not stopping
        pod.exit_code, pod.reason, pod.ended_at = code, reason, self._tick().replace(microsecond=0)
        if code:
            self.at_fault.add(pod.node)
            self._loses(pod)

    def sickens(self, index: int) -> None:
        """The node of a pod says that its hardware is broken."""
        if (pod := self._pod(index)) and pod.node:
            self.sick.add(pod.node)
            self.at_fault.add(pod.node)

    def falls_silent(self, index: int) -> None:
        """The node of a pod does not answer; what runs on it, runs on."""
        if (pod := self._pod(index)) and pod.node:
            self.silent.add(pod.node)
            self._hear()

    def all_answer(self) -> None:
        self.silent.clear()
        self._hear()

    def _hear(self) -> None:
        for pod in self.pods.values():
            pod.silent = pod.node in self.silent

    def deleted(self, index: int, disruption: str = "") -> None:
        if pod := self._pod(index):
            pod.terminating, pod.disruption = True, disruption
            self._note_loss(pod)

    def evicted_by_kubelet(self, index: int) -> None:
        if (pod := self._pod(index)) and not pod.over and pod.node:
            pod.pod_reason, pod.disruption = "Evicted", "TerminationByKubelet"
            self._loses(pod)

    def vanishes(self, index: int) -> None:
        if pod := self._pod(index):
            self._note_loss(pod)
            self._remove(pod)

    def loses_node(self, index: int) -> None:
        if (pod := self._pod(index)) and pod.node:
            self.gone_nodes.add(pod.node)
            self._loses(pod)

    def toggle_report(self, index: int) -> None:
        if (pod := self._pod(index)) and pod.launcher:
            pod.launcher.reachable = not pod.launcher.reachable

    def reports_reachable(self) -> None:
        for pod in self.pods.values():
            if pod.launcher:
                pod.launcher.reachable = True

    # ---- inside --------------------------------------------------------------------------------------------------

    def _tick(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now

    def _pod(self, index: int) -> SimPod | None:
        """Of the newest attempt."""
        here = [pod for pod in self.pods.values() if pod.index == index % self.size]
        return max(here, key=lambda pod: pod.attempt, default=None)

    def _gang(self) -> list[SimPod]:
        found = [pod for index in range(self.size) if (pod := self._pod(index)) and pod.alive]
        return found if len({pod.attempt for pod in found}) == 1 else []

    def _remove(self, pod: SimPod) -> None:
        if self.pods.pop(pod.name, None) and not pod.over:
            self._peers_wait(pod)

    def _loses(self, pod: SimPod) -> None:
        self._note_loss(pod)
        self._peers_wait(pod)

    def _note_loss(self, pod: SimPod) -> None:
        if self.status.suspension and self.status.suspension.stop_time:
            return  # It was told to go.
        if pod.exit_code != 0 and pod.uid in {one.uid for one in self.status.pods if not one.succeeded}:
            self.lost[pod.uid] = pod.attempt

    def _forgive(self, gang: list[SimPod]) -> None:
        """A pod that does not answer until training goes on is not asked again."""
        if not all(pod.launcher.reachable for pod in gang):
            self.to_tell.clear()

    def _peers_wait(self, pod: SimPod) -> None:
        for other in self.pods.values():
            if other is not pod and other.alive and other.attempt == pod.attempt and other.launcher.phase in JOINED:
                other.launcher.phase = TrainerPhase.RENDEZVOUS
