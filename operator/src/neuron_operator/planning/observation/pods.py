"""From the API server's JSON of a pod to `observation.Pod`. Tolerant: a field that is absent is a field not yet set."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from neuron_api import contract

from .observation import Child, Pod

Json = Mapping[str, Any]

DISRUPTIONS: Final = ("DisruptionTarget", "TerminationTarget")
"""Conditions by which Kubernetes, or a queue, says that it takes a pod away."""


def read(body: Json) -> Pod | None:
    """One pod; None when its labels were tampered with so that it has no place in the gang."""
    metadata, spec, status = body["metadata"], body.get("spec", {}), body.get("status", {})
    attempt, index = _number(metadata, contract.LABEL_ATTEMPT), _number(metadata, contract.LABEL_NODE_RANK)
    if attempt is None or index is None:
        return None
    trainer = _named(status.get("containerStatuses", ()), contract.CONTAINER)
    ended: Json = trainer.get("state", {}).get("terminated") or {}
    exit_code = ended.get("exitCode")
    containers = (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ()))
    waiting = _waiting(containers)
    phase = status.get("phase", "Pending")
    return Pod(
        name=metadata["name"],
        uid=metadata["uid"],
        index=index,
        attempt=attempt,
        node=spec.get("nodeName", ""),
        address=status.get("podIP", ""),
        ready=_condition(status, "Ready").get("status") == "True",
        running="running" in trainer.get("state", {}),
        occupied=any("running" in container.get("state", {}) for container in containers),
        terminating="deletionTimestamp" in metadata,
        failed=exit_code != 0 and (phase == "Failed" or exit_code is not None),
        succeeded=exit_code == 0 or (phase == "Succeeded" and exit_code is None),
        exit_code=exit_code,
        created_at=_time(metadata.get("creationTimestamp")),
        scheduled_at=_since(status, "PodScheduled"),
        started_at=_time((trainer.get("state", {}).get("running") or {}).get("startedAt")),
        finished_at=_time(ended.get("finishedAt")),
        termination_reason=ended.get("reason", ""),
        termination_message=ended.get("message", "") if ended else _other_failure(containers),
        pod_reason=status.get("reason", ""),
        pod_message=status.get("message", ""),
        disruption=_first(_reason_if(status, kind, "True") for kind in DISRUPTIONS),
        disruption_message=_first(_condition(status, kind).get("message", "") for kind in DISRUPTIONS),
        unschedulable=_unschedulable(status),
        scheduler=spec.get("schedulerName", ""),
        seen_by_scheduler=_condition(status, "PodScheduled").get("reason") != "SchedulingGated"
        and bool(_condition(status, "PodScheduled")),
        gates=tuple(str(gate.get("name")) for gate in spec.get("schedulingGates") or ()),
        labels=metadata.get("labels") or {},
        finalizers=tuple(metadata.get("finalizers") or ()),
        resource_version=metadata.get("resourceVersion", ""),
        waiting_reason=waiting.get("state", {}).get("waiting", {}).get("reason", ""),
        waiting_message=waiting.get("state", {}).get("waiting", {}).get("message", ""),
        avoids=frozenset(
            filter(None, metadata.get("annotations", {}).get(contract.ANNOTATION_EXCLUDED, "").split(","))
        ),
        image=waiting.get("image", "") or trainer.get("image", ""),
    )


def owner_uid(body: Json) -> str:
    """UID of the controlling owner, empty without one."""
    for reference in body["metadata"].get("ownerReferences", ()):
        if reference.get("controller"):
            return str(reference["uid"])
    return ""


def child(body: Json | None) -> Child | None:
    """A Service or ConfigMap."""
    return Child(owner_uid(body), body) if body else None


def _number(metadata: Json, label: str) -> int | None:
    text = str(metadata.get("labels", {}).get(label, ""))
    return int(text) if text.isascii() and text.isdigit() else None


def _first(texts: Iterable[str]) -> str:
    return next(filter(None, texts), "")


def _named(statuses: Iterable[Json], name: str) -> Json:
    return next((status for status in statuses if status.get("name") == name), {})


def _waiting(statuses: Iterable[Json]) -> Json:
    """The first container that waits for something more telling than its turn."""
    usual = ("ContainerCreating", "PodInitializing", "")
    for status in statuses:
        if status.get("state", {}).get("waiting", {}).get("reason", "") not in usual:
            return status
    return {}


def _other_failure(containers: Iterable[Json]) -> str:
    """Return the message of the first other container that failed, such as an init container."""
    for container in containers:
        ended = container.get("state", {}).get("terminated") or {}
        if ended.get("exitCode"):
            message = f": {ended['message'].strip()}" if ended.get("message") else "."
            return f"container {container['name']} ended with exit code {ended['exitCode']}{message}"
    return ""


def _condition(status: Json, kind: str) -> Json:
    return next((condition for condition in status.get("conditions", ()) if condition.get("type") == kind), {})


def _reason_if(status: Json, kind: str, value: str) -> str:
    condition = _condition(status, kind)
    return str(condition.get("reason") or kind) if condition.get("status") == value else ""


def _since(status: Json, kind: str) -> datetime | None:
    """Return the time since which a condition is True."""
    condition = _condition(status, kind)
    return _time(condition.get("lastTransitionTime")) if condition.get("status") == "True" else None


def _unschedulable(status: Json) -> str:
    condition = _condition(status, "PodScheduled")
    is_unschedulable = condition.get("status") == "False" and condition.get("reason") == "Unschedulable"
    return str(condition.get("message") or "no node fits.") if is_unschedulable else ""


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
