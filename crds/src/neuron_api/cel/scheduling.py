"""Rules of `spec.scheduling`: a field that the chosen scheduler would ignore is refused."""

from typing import Any, Final

from neuron_api.resource.scheduling import GangScheduler

from .spec_rule import Part, SpecRule, value

_PART: Final = "spec.scheduling"
_GANG: Final = f"self.?gang.orValue('{GangScheduler.NONE}')"
_IN_SPEC: Final = f"self.?scheduling.?gang.orValue('{GangScheduler.NONE}')"
_QUEUES: Final = (GangScheduler.KUEUE, GangScheduler.VOLCANO)


def _has(field: str) -> str:
    return f"self.?{field.replace('.', '.?')}.hasValue()"


def _gang(scheduling: Any) -> Any:
    return value(scheduling or {}, "gang") or GangScheduler.NONE


def _sets(part: Part, *paths: str) -> bool:
    return all(value(part, path) is not None for path in paths)


RULES: Final = (
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
        f"{_IN_SPEC} == '{GangScheduler.NONE}' && {_has('startupPolicy.admissionSeconds')}",
        lambda spec: (
            _gang(spec.get("scheduling")) == GangScheduler.NONE and _sets(spec, "startupPolicy.admissionSeconds")
        ),
    ),
)
