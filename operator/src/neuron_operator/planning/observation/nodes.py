"""From the API server's JSON of a node to `observation.Node`. Tolerant, as `pods` is."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from .observation import Node, NodeCondition, Taint

Json = Mapping[str, Any]

HOSTNAME_LABEL: Final = "kubernetes.io/hostname"


def read(body: Json) -> Node:
    """One node."""
    metadata, spec, status = body["metadata"], body.get("spec", {}), body.get("status", {})
    labels = {str(key): str(value) for key, value in (metadata.get("labels") or {}).items()}
    return Node(
        name=metadata["name"],
        hostname=labels.get(HOSTNAME_LABEL, metadata["name"]),
        conditions=tuple(_condition(item) for item in status.get("conditions") or ()),
        labels=labels,
        taints=tuple(
            Taint(item["key"], item.get("value") or "", item.get("effect") or "") for item in spec.get("taints") or ()
        ),
    )


def _condition(item: Json) -> NodeCondition:
    since = item.get("lastTransitionTime")
    return NodeCondition(
        type=item.get("type", ""),
        status=item.get("status", ""),
        reason=item.get("reason", ""),
        message=item.get("message", ""),
        since=datetime.fromisoformat(since) if since else None,
    )
