"""Rules without a code, since they are not about a configuration: name, sources, immutable fields, storage,
`spec.scheduling`, where a field that the chosen scheduler would ignore is refused, and bounds of `spec.elasticPolicy`.

Each is a `SpecRule`: for the API server, and for a manifest without a server, with one message.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from neuron_api.contract import MAX_NODES
from neuron_api.findings.finding import Finding, error
from neuron_api.resource import job_name
from neuron_api.resource.elastic import SHRINK_AFTER_SECONDS
from neuron_api.resource.scheduling import GangScheduler
from neuron_api.resource.spec import RestartPolicy

from .expressions import IN_SPEC, is_above
from .rule import Validation

Part = Mapping[str, Any]

_SPEC: Final = "spec"


@dataclass(frozen=True, slots=True)
class SpecRule:
    """A combination of fields that is refused."""

    part: str
    """`spec`, or a part of it such as `spec.scheduling`; the rule is skipped if the part is absent."""
    field: str
    """Below the part."""
    message: str
    """What is wrong."""
    remedy: str
    refuse_if: str
    """CEL over the part: true when the object is refused."""
    is_refused: Callable[[Part], bool]
    """The same in Python."""

    @property
    def finding(self) -> Finding:
        """Return field, fault and remedy as a finding."""
        return error(f"{self.part}.{self.field}", self.message, self.remedy)

    def validation(self) -> Validation:
        """Return the rule as an item of the part's `x-kubernetes-validations`."""
        condition = self.refuse_if.replace("'", '"')  # which YAML need not double
        return {"rule": f"!({condition})", "message": str(self.finding), "fieldPath": f".{self.field}"}


def findings(rules: Iterable[SpecRule], spec: Part) -> Iterator[Finding]:
    """Return the findings about a manifest's `spec`; null is absent, as for the API server."""
    return (rule.finding for rule in rules if (part := _part(spec, rule.part)) is not None and rule.is_refused(part))


def value(part: Part, path: str) -> Any:
    """Return the value at a path; None if it is absent."""
    node: Any = part
    for key in path.split("."):
        node = node.get(key) if isinstance(node, Mapping) else None
    return node


def _part(spec: Part, path: str) -> Part | None:
    part = spec if path == _SPEC else value(spec, path.removeprefix(f"{_SPEC}."))
    return part if isinstance(part, Mapping) else None


_FIXED = ("config", "configFrom", "deviceCountScope")
_PODS = ("platform", "image", "storage", "podTemplate", "scheduling", "memoryCheckpoints")
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
            "message": "spec.platform, spec.image, spec.storage, spec.podTemplate, spec.memoryCheckpoints and "
            "spec.scheduling cannot be changed while the job has pods, since a pod that is replaced would differ from "
            "the others: set spec.suspend to true first, and to false afterwards.",
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


SOURCE_RULES: Final = (
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


_PART: Final = "spec.scheduling"
_GANG: Final = f"self.?gang.orValue('{GangScheduler.NONE}')"
_GANG_IN_SPEC: Final = f"self.?scheduling.?gang.orValue('{GangScheduler.NONE}')"
_QUEUES: Final = (GangScheduler.KUEUE, GangScheduler.VOLCANO)


def _has(field: str) -> str:
    return f"self.?{field.replace('.', '.?')}.hasValue()"


def _gang(scheduling: Any) -> Any:
    return value(scheduling or {}, "gang") or GangScheduler.NONE


def _sets(part: Part, *paths: str) -> bool:
    return all(value(part, path) is not None for path in paths)


SCHEDULING_RULES: Final = (
    SpecRule(
        _PART,
        "queueName",
        "it is required with gang Kueue.",
        "Name a LocalQueue of the job's namespace.",
        f"{_GANG} == '{GangScheduler.KUEUE}' && !{_has('queueName')}",
        lambda part: _gang(part) == GangScheduler.KUEUE and not _sets(part, "queueName"),
    ),
    SpecRule(
        _PART,
        "queueName",
        "it is for the gangs Kueue and Volcano; the others have no queues.",
        "Remove it, or set spec.scheduling.gang.",
        f"!({_GANG} in ['{_QUEUES[0]}', '{_QUEUES[1]}']) && {_has('queueName')}",
        lambda part: _gang(part) not in _QUEUES and _sets(part, "queueName"),
    ),
    SpecRule(
        _PART,
        "scheduleTimeoutSeconds",
        "it is for the gang Coscheduling only.",
        "Remove it, or bound the wait with spec.startupPolicy.admissionSeconds.",
        f"{_GANG} != '{GangScheduler.COSCHEDULING}' && {_has('scheduleTimeoutSeconds')}",
        lambda part: _gang(part) != GangScheduler.COSCHEDULING and _sets(part, "scheduleTimeoutSeconds"),
    ),
    SpecRule(
        _PART,
        "maxPriorityBoost",
        "it is for the gang Kueue only; no other has a boost of priority.",
        "Remove it.",
        f"{_GANG} != '{GangScheduler.KUEUE}' && {_has('maxPriorityBoost')}",
        lambda part: _gang(part) != GangScheduler.KUEUE and _sets(part, "maxPriorityBoost"),
    ),
    SpecRule(
        _PART,
        "topology",
        "Kueue takes one of required and preferred, not both.",
        "Remove one of them.",
        f"{_GANG} == '{GangScheduler.KUEUE}' && {_has('topology.required')} && {_has('topology.preferred')}",
        lambda part: _gang(part) == GangScheduler.KUEUE and _sets(part, "topology.required", "topology.preferred"),
    ),
    SpecRule(
        "spec",
        "startupPolicy.admissionSeconds",
        "it bounds the wait in a queue, but spec.scheduling.gang is None.",
        "Use spec.startupPolicy.schedulingSeconds, or set spec.scheduling.gang.",
        f"{_GANG_IN_SPEC} == '{GangScheduler.NONE}' && {_has('startupPolicy.admissionSeconds')}",
        lambda spec: (
            _gang(spec.get("scheduling")) == GangScheduler.NONE and _sets(spec, "startupPolicy.admissionSeconds")
        ),
    ),
)

_ELASTIC: Final = "spec.elasticPolicy"
_REJOIN_SECONDS: Final = RestartPolicy().rejoin_timeout_seconds


def _bounds(policy: Any) -> tuple[int, int]:
    """Return minNodes and maxNodes, as far as the policy alone says them."""
    return value(policy, "minNodes") or 1, value(policy, "maxNodes") or MAX_NODES


def _is_outside(policy: Any, nodes: Any) -> bool:
    low, high = _bounds(policy)
    return isinstance(nodes, int) and not low <= nodes <= high


def _shrinks_late(spec: Part) -> bool:
    policy = value(spec, "elasticPolicy")
    if not isinstance(policy, Mapping):
        return False
    bound = value(policy, "shrinkAfterSeconds") or SHRINK_AFTER_SECONDS
    rejoin = value(spec, "restartPolicy.rejoinTimeoutSeconds") or _REJOIN_SECONDS
    return bound >= min(rejoin, value(spec, "startupPolicy.schedulingSeconds") or bound + 1)


_LOW: Final = "self.?minNodes.orValue(1)"
_HIGH: Final = f"self.?maxNodes.orValue({MAX_NODES})"
_BOUND: Final = f"self.elasticPolicy.?shrinkAfterSeconds.orValue({SHRINK_AFTER_SECONDS})"

ELASTIC_RULES: Final = (
    SpecRule(
        _ELASTIC,
        "minNodes",
        "it is more than maxNodes.",
        "Lower it, or raise maxNodes.",
        f"{_LOW} > {_HIGH}",
        lambda part: _bounds(part)[0] > _bounds(part)[1],
    ),
    SpecRule(
        _ELASTIC,
        "nodes",
        "it is not between minNodes and maxNodes.",
        "Change it, or the bound.",
        f"has(self.nodes) && {_LOW} <= {_HIGH} && (self.nodes < {_LOW} || self.nodes > {_HIGH})",
        lambda part: _bounds(part)[0] <= _bounds(part)[1] and _is_outside(part, part.get("nodes")),
    ),
    SpecRule(
        "spec",
        "elasticPolicy",
        "the number of nodes cannot change in a gang: schedulers of gangs and queues hold a fixed number of pods.",
        "Remove it, or spec.scheduling.gang.",
        f"has(self.elasticPolicy) && {_GANG_IN_SPEC} != '{GangScheduler.NONE}'",
        lambda spec: spec.get("elasticPolicy") is not None and _gang(spec.get("scheduling")) != GangScheduler.NONE,
    ),
    SpecRule(
        "spec",
        "elasticPolicy.shrinkAfterSeconds",
        "it is not less than restartPolicy.rejoinTimeoutSeconds and startupPolicy.schedulingSeconds: the other pods "
        "would give up, or the job would end, before it shrinks.",
        "Lower it, or raise the others.",
        f"has(self.elasticPolicy) && ({_BOUND} >= self.?restartPolicy.?rejoinTimeoutSeconds.orValue({_REJOIN_SECONDS})"
        f" || {_BOUND} >= self.?startupPolicy.?schedulingSeconds.orValue({_BOUND} + 1))",
        _shrinks_late,
    ),
)

RULES: Final = (*SOURCE_RULES, *SCHEDULING_RULES, *ELASTIC_RULES)
"""All rules of `spec` outside its configuration."""
