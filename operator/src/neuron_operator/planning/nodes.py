"""From the API server's JSON of a node to `observation.Node`. Tolerant, as `pods` is."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final

from neuron_api.resource.job import NeuronTrainingJob

from . import ledger
from .observation import Node, NodeCondition, Pod, Taint

Json = Mapping[str, Any]

HOSTNAME_LABEL: Final = "kubernetes.io/hostname"


def read(body: Json) -> Node:
    """One node."""
    metadata, spec, status = body["metadata"], body.get("spec", {}), body.get("status", {})
    labels = {str(key): str(value) for key, value in (metadata.get("labels") or {}).items()}
    return Node(
        name=metadata["name"],
        hostname=labels.get(HOSTNAME_LABEL, metadata["name"]),
        conditions=tuple(_condition(one) for one in status.get("conditions") or ()),
        labels=labels,
        taints=tuple(
            Taint(one["key"], one.get("value") or "", one.get("effect") or "") for one in spec.get("taints") or ()
        ),
    )


def suspects(job: NeuronTrainingJob, own: Collection[Pod]) -> set[str]:
    """Nodes of pods that are not well, or are gone, or in which a process has failed since the last step."""
    well = {pod.name for pod in own if pod.ready and not pod.terminating}
    names = {pod.node for pod in own if pod.name not in well}
    names |= {record.node for record in job.status.pods if record.name not in well}
    names |= {entry.node for entry in ledger.open_entries(job.status) if entry.attempt == job.status.attempt}
    return names - {""}


def _condition(one: Json) -> NodeCondition:
    since = one.get("lastTransitionTime")
    return NodeCondition(
        type=one.get("type", ""),
        status=one.get("status", ""),
        reason=one.get("reason", ""),
        message=one.get("message", ""),
        since=datetime.fromisoformat(since) if since else None,
    )
