"""Rules without a code, since they are not about a configuration: name, sources, immutable fields, storage."""

from collections.abc import Mapping
from typing import Final

from neuron_api.resource import job_name

from .expressions import IN_SPEC, is_above
from .rule import Validation
from .spec_rule import Part, SpecRule, value

_FIXED = ("config", "configFrom", "deviceCountScope")
_PODS = ("platform", "image", "storage", "podTemplate", "scheduling")
"""Fields that pods are made from, besides the configuration."""
_IS_OF_STATUS = "(has(self.status) && self.status != oldSelf.status)"
"""Whether the request writes the status. The API server keeps the spec then (and the status in all other requests), so
that comparing whole configurations, which takes 5 ms, can be skipped."""


def _same(fields: tuple[str, ...]) -> str:
    """Return an expression that is true if none of these fields of the spec changes."""
    return " && ".join(
        f"has(self.spec.{field}) == has(oldSelf.spec.{field}) && "
        f"(!has(self.spec.{field}) || self.spec.{field} == oldSelf.spec.{field})"
        for field in fields
    )


def root_rules() -> list[Validation]:
    """Return the rules about changes, and about the name, which is part of pod and host names (63 characters)."""
    has_pods = "has(oldSelf.status) && has(oldSelf.status.pods) && size(oldSelf.status.pods) > 0"
    return [
        {
            "rule": f"!has(oldSelf.status) || !has(oldSelf.status.startTime) || {_IS_OF_STATUS} || ({_same(_FIXED)})",
            "message": "spec.config, spec.configFrom and spec.deviceCountScope cannot be changed once the job has been "
            "started, since its checkpoints belong to them: create a new job with exp_manager.resume_from_checkpoint.",
        },
        {
            "rule": f"!({has_pods}) || {_IS_OF_STATUS} || ({_same(_PODS)})",
            "message": "spec.platform, spec.image, spec.storage, spec.podTemplate and spec.scheduling cannot be "
            "changed while the job has pods, since a pod that is replaced would differ from the others: set "
            "spec.suspend to true first, and to false afterwards.",
        },
        {
            # The API server itself asks for a DNS-1123 name. A job that has a status was created by an older rule.
            "rule": f"has(self.status) || size(self.metadata.name) <= {job_name.MAX_LENGTH} && "
            "!self.metadata.name.contains('.') && self.metadata.name >= 'a'",
            "message": f"metadata.name becomes the name of a Service: {job_name.EXPECTED}.",
        },
    ]


def _lacks_writable_storage(spec: Part) -> bool:
    """Return whether several nodes have no writable claim; an interpolated number of nodes is unknown here."""
    nodes, storage = value(spec, "config.trainer.num_nodes"), spec.get("storage")
    entries = storage if isinstance(storage, list) else ()
    is_writable = any(isinstance(entry, Mapping) and not entry.get("readOnly") for entry in entries)
    return isinstance(nodes, int) and nodes > 1 and not is_writable


RULES: Final = (
    SpecRule(
        "spec",
        "config",
        "exactly one of spec.config and spec.configFrom is required.",
        "",
        "has(self.config) == has(self.configFrom)",
        lambda spec: (spec.get("config") is None) == (spec.get("configFrom") is None),
    ),
    SpecRule(
        "spec",
        "storage",
        "it has no writable claim, but spec.config.trainer.num_nodes is more than 1: checkpoints would be lost with "
        "the pods.",
        "Add an entry with claimName and mountPath.",
        f"has({IN_SPEC}) && {is_above('trainer.num_nodes', 1, IN_SPEC)} && "
        "!(has(self.storage) && self.storage.exists(s, !has(s.readOnly) || !s.readOnly))",
        _lacks_writable_storage,
    ),
)
"""Sources of the configuration, and a claim for the checkpoints of several nodes."""
