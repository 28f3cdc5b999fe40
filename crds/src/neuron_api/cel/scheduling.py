"""What cannot go together in `spec.scheduling`: a field that the chosen scheduler would ignore is refused."""

from .rule import Wire

_GANG = "self.?gang.orValue('none')"


def _has(field: str) -> str:
    return f"self.?{field.replace('.', '.?')}.hasValue()"


def rules() -> list[Wire]:
    """Rules of `spec.scheduling`."""
    return [
        _rule(
            f"{_GANG} == 'Kueue' && !{_has('queueName')}",
            "queueName",
            "spec.scheduling.queueName is not set: with gang Kueue name a LocalQueue of the job's namespace.",
        ),
        _rule(
            f"!({_GANG} in ['Kueue', 'Volcano']) && {_has('queueName')}",
            "queueName",
            "spec.scheduling.queueName is for the gangs Kueue and Volcano; the others have no queues: remove it, or "
            "set spec.scheduling.gang.",
        ),
        _rule(
            f"{_GANG} != 'Coscheduling' && {_has('scheduleTimeoutSeconds')}",
            "scheduleTimeoutSeconds",
            "spec.scheduling.scheduleTimeoutSeconds is for the gang Coscheduling only: remove it, or bound the wait "
            "with spec.startupPolicy.admissionSeconds.",
        ),
        _rule(
            f"{_GANG} == 'Kueue' && {_has('topology.required')} && {_has('topology.preferred')}",
            "topology",
            "spec.scheduling.topology: Kueue takes one of required and preferred, not both.",
        ),
    ]


def spec_rules() -> list[Wire]:
    """Rules of `spec`."""
    return [
        {
            "rule": "!self.?startupPolicy.?admissionSeconds.hasValue() || "
            'self.?scheduling.?gang.orValue("none") != "none"',
            "message": "spec.startupPolicy.admissionSeconds bounds the wait in a queue, but spec.scheduling.gang is "
            "none: use schedulingSeconds.",
            "fieldPath": ".startupPolicy.admissionSeconds",
        },
    ]


def _rule(refused: str, field: str, message: str) -> Wire:
    return {"rule": f"!({refused})".replace("'", '"'), "message": message, "fieldPath": f".{field}"}
