"""What has become of a pod, and what that means for the gang: the table of exits. No budgets here (see `ladder.py`)."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from neuron_api.contract import TERMINATION_MESSAGE_LIMIT, ExitCode
from neuron_api.findings.finding import clip_lines
from neuron_api.resource.progress import from_failure_headline
from neuron_api.resource.reasons import Reason
from neuron_operator.planning.observation.observation import Pod

from .blame import lost_connection
from .signals import Signal

SIGKILLED: Final = 137
_NODE_GONE: Final = ("DeletionByTaintManager", "DeletionByPodGC", "NodeLost")
_EVICTED: Final = (
    "Evicted",
    "Preempting",
    "Shutdown",
    "NodeShutdown",
    "Terminated",
    "NodeAffinity",
    "UnexpectedAdmissionError",
    "OutOfcpu",
    "OutOfmemory",
    "OutOfpods",
)
"""`status.reason` of pods that the kubelet turned away or ended for its own reasons."""


_SAYS_NOTHING: Final = ("Error", "Completed")
"""Reasons of the runtime's that only repeat the exit code."""


class Verdict(StrEnum):
    """What a lost pod calls for."""

    REPLACE = "Replace"
    """This pod alone."""
    GANG = "Gang"
    """All pods."""
    HOLD = "Hold"
    """Nothing helps but somebody who does something outside of the job."""
    STOP = "Stop"
    """Nothing can help."""


@dataclass(frozen=True, slots=True)
class PodFailure:
    """A pod that will not train any more."""

    index: int
    verdict: Verdict
    cause: Reason
    counted: bool
    """Whether it uses up a part of restartPolicy.maxGangRestarts; disruptions do not."""
    pod: str
    uid: str
    node: str = ""
    exit_code: int | None = None
    message: str = ""
    """All that the launcher or the kubelet said."""
    pod_reason: str = ""
    neuron_code: int | None = None
    """Of the Neuron runtime, in what it said."""
    signal: Signal | None = None
    """What the failure table says about it (`diagnosis`)."""
    rank: int | None = None
    """Of the process that failed first in the pod, where the launcher says it."""
    step: int | None = None
    """Last finished step when it failed, likewise."""
    failed_at: datetime | None = None
    """When its container ended, by the node's clock."""

    @property
    def disrupted(self) -> bool:
        """Return whether the cluster took it, rather than that it ended by its own fault."""
        return self.verdict is Verdict.REPLACE and not self.counted

    @property
    def is_victim(self) -> bool:
        """Return whether it says no more than that others were gone."""
        return not self.message or lost_connection(self.last_line)

    @property
    def last_line(self) -> str:
        """The exception of a traceback."""
        return self.message.rstrip().rpartition("\n")[2].strip()

    @property
    def summary(self) -> str:
        """The node's evidence, where that decided, and the last line."""
        evidence = self.signal.evidence if self.signal else ""
        return "; ".join(filter(None, (evidence, self.last_line)))


def classify_exit(pod: Pod, *, node_lost: bool = False) -> PodFailure | None:
    """Return what became of a pod; None when it lives or has succeeded, also where it was deleted after that."""
    if pod.succeeded:
        return None
    if pod.failed and pod.exit_code == ExitCode.CONFIG:
        return _loss(pod, Verdict.STOP, Reason.TRAINER_REFUSED_CONFIG, counted=False)
    if pod.failed and pod.exit_code == ExitCode.COMPILATION:
        return _loss(pod, Verdict.STOP, Reason.COMPILATION_FAILED, counted=False)
    if pod.failed and pod.exit_code == ExitCode.NO_CHECKPOINT:
        return _loss(pod, Verdict.HOLD, Reason.NO_CHECKPOINT_FOUND, counted=False)
    if disruption := _disruption(pod, node_lost=node_lost):
        return _loss(pod, Verdict.REPLACE, disruption, counted=False)
    if not pod.failed:
        return None
    if pod.termination_reason == "OOMKilled":
        return _loss(pod, Verdict.REPLACE, Reason.OUT_OF_MEMORY, counted=True)
    if pod.exit_code == SIGKILLED:
        return _loss(pod, Verdict.REPLACE, Reason.PROCESS_KILLED, counted=True)
    return _loss(pod, Verdict.GANG, Reason.POD_FAILED, counted=True)


def vanished(index: int, name: str, uid: str, node: str, *, node_lost: bool = False) -> PodFailure:
    """A pod that is in the job's status and nowhere else."""
    cause = Reason.NODE_LOST if node_lost else Reason.POD_DELETED
    return PodFailure(index, Verdict.REPLACE, cause, counted=False, pod=name, uid=uid, node=node)


def first_failure(losses: Iterable[PodFailure], ended: dict[str, float]) -> PodFailure:
    """The one to blame for a gang's end: not one that only lost its connection to another; then the earliest."""
    return min(
        losses, key=lambda loss: (lost_connection(loss.last_line), ended.get(loss.uid, float("inf")), loss.index)
    )


def _disruption(pod: Pod, *, node_lost: bool) -> Reason | None:
    gone = node_lost or pod.disruption in _NODE_GONE or pod.pod_reason in _NODE_GONE
    if gone and (pod.terminating or pod.failed or node_lost):
        return Reason.NODE_LOST
    if (pod.disruption and (pod.terminating or pod.failed)) or pod.pod_reason in _EVICTED:
        return Reason.POD_EVICTED
    if pod.terminating:
        return Reason.POD_DELETED
    if pod.failed and pod.exit_code == ExitCode.PREEMPTED:
        return Reason.POD_PREEMPTED
    return None


def _loss(pod: Pod, verdict: Verdict, cause: Reason, *, counted: bool) -> PodFailure:
    termination = pod.termination_reason if pod.termination_reason not in _SAYS_NOTHING else ""
    disruption = pod.disruption_message if not counted else ""
    texts = (
        pod.termination_message.strip(),
        pod.pod_message,
        disruption,
        pod.waiting_message,
        termination,
        pod.pod_reason,
    )
    message = clip_lines(next(filter(None, texts), ""), TERMINATION_MESSAGE_LIMIT)
    rank, step = from_failure_headline(message) or (None, None)
    return PodFailure(
        pod.index,
        verdict,
        cause,
        counted,
        pod.name,
        pod.uid,
        pod.node,
        pod.exit_code,
        message,
        pod.pod_reason,
        rank=rank,
        step=step,
        failed_at=pod.finished_at,
    )
