"""A pod of the simulated cluster, and the launcher in it."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from builders import NOW, rfc3339
from neuron_api import contract
from neuron_api.resource.progress import ProcessFailure, Recovery, TrainerPhase
from neuron_operator.planning.observation import pods
from neuron_operator.planning.observation.observation import Pod

Json = dict[str, Any]


@dataclass
class Launcher:
    """The program in a pod, which counts its own rounds."""

    started: datetime
    phase: TrainerPhase = TrainerPhase.RENDEZVOUS
    rounds: int = 0
    failures: tuple[ProcessFailure, ...] = ()
    recoveries: tuple[Recovery, ...] = ()
    last_step_time: datetime | None = None
    reachable: bool = True
    hung: bool = False


@dataclass
class SimPod:
    """A pod and what the kubelet knows of it."""

    name: str
    uid: str
    index: int
    attempt: int
    node: str = ""
    launcher: Launcher | None = None
    terminating: bool = False
    exit_code: int | None = None
    reason: str = ""
    pod_reason: str = ""
    disruption: str = ""
    ended_at: datetime = NOW
    annotations: Json = field(default_factory=dict)
    away: frozenset[str] = frozenset()
    """Host names that its affinity excludes."""
    silent: bool = False
    """Its node does not answer."""

    @property
    def over(self) -> bool:
        return self.exit_code is not None or bool(self.pod_reason)

    @property
    def alive(self) -> bool:
        return self.launcher is not None and not self.over

    def body(self) -> Json:
        """As the API server has it."""
        state: Json = {"waiting": {"reason": "ContainerCreating"}}
        if self.exit_code is not None:
            ended = {"exitCode": self.exit_code, "reason": self.reason, "finishedAt": rfc3339(self.ended_at)}
            state = {"terminated": ended}
        elif self.alive:
            state = {"running": {"startedAt": rfc3339(self.launcher.started)} if self.launcher else {}}
        found = [("Ready", "True" if self.alive and not (self.terminating or self.silent) else "False", "")]
        if self.disruption:
            found.append(("DisruptionTarget", "True", self.disruption))
        metadata: Json = {
            "name": self.name,
            "uid": self.uid,
            "annotations": self.annotations,
            "labels": {contract.LABEL_ATTEMPT: str(self.attempt), contract.LABEL_NODE_RANK: str(self.index)},
        }
        ended_phase = "Succeeded" if self.exit_code == 0 else "Failed"
        status: Json = {
            "phase": ended_phase if self.over else "Running" if self.alive else "Pending",
            "reason": self.pod_reason,
            "conditions": [{"type": kind, "status": value, "reason": why} for kind, value, why in found],
            "containerStatuses": [{"name": contract.CONTAINER, "image": "trainer", "state": state}],
        }
        if self.terminating:
            metadata["deletionTimestamp"] = rfc3339(NOW)
        return {"metadata": metadata, "spec": {"nodeName": self.node} if self.node else {}, "status": status}

    def seen(self) -> Pod:
        pod = pods.read(self.body())
        assert pod is not None
        return pod


def away(spec: Json) -> frozenset[str]:
    """Host names that a required node affinity excludes in every term."""
    affinity = (
        spec.get("affinity", {}).get("nodeAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution", {})
    )
    terms = [
        {
            value
            for one in term["matchExpressions"]
            if one["key"] == "kubernetes.io/hostname" and one["operator"] == "NotIn"
            for value in one["values"]
        }
        for term in affinity.get("nodeSelectorTerms", [])
    ]
    return frozenset(set.intersection(*terms)) if terms else frozenset()
