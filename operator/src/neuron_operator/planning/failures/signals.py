"""What the failure table says about what was seen: of a process, of a pod, of a node. Pure look-up, no decisions."""

from collections.abc import Iterable
from dataclasses import dataclass

from neuron_api.resource.progress import ProcessFailure
from neuron_api.resource.reasons import Reason
from neuron_operator.planning.observation.observation import Node

from .failure_table import FailureRule, FailureTable, MinimumScope, NodeRule


@dataclass(frozen=True, slots=True)
class Signal:
    """An entry of the table that fits."""

    rule: str
    cause: Reason
    counted: bool
    restart_scope: MinimumScope
    exclude: bool
    evidence: str = ""
    """What the node says; empty where the entry is about what the failure itself said."""


def neuron_code(table: FailureTable, text: str) -> int | None:
    """The code of the Neuron runtime in a text."""
    for pattern in table.neuron_code:
        if match := pattern.search(text):
            return int(match[1]) if match[1].isascii() and match[1].isdigit() else None
    return None


def match_failure(table: FailureTable, text: str, exit_code: int | None = None, pod_reason: str = "") -> Signal | None:
    """The first entry that fits all that was said and how it ended."""
    if not table.failures:
        return None
    code = neuron_code(table, text)
    for rule in table.failures:
        if _fits(rule, text, code, exit_code, pod_reason):
            return _signal(rule)
    return None


def match_process(table: FailureTable, failure: ProcessFailure) -> Signal | None:
    """The same for what a launcher reports of one of its processes."""
    return match_failure(table, process_text(failure), failure.exit_code)


def process_text(failure: ProcessFailure) -> str:
    """All lines of a process that are known."""
    return "\n".join((*failure.lines, failure.message))


def match_node(table: FailureTable, node: Node | None) -> Signal | None:
    """The first entry that fits what a node says about itself."""
    if node is None:
        return None
    for rule in table.nodes:
        if (evidence := _evidence(rule, node)) is not None:
            return _signal(rule, evidence)
    return None


def strongest(signals: Iterable[Signal | None]) -> Signal | None:
    """Return the signal that proves a node to be at fault; else the first."""
    present = [signal for signal in signals if signal is not None]
    return next((signal for signal in present if signal.exclude), present[0] if present else None)


def _fits(rule: FailureRule, text: str, code: int | None, exit_code: int | None, pod_reason: str) -> bool:
    return (
        (not rule.neuron_codes or code in rule.neuron_codes)
        and (not rule.exit_codes or exit_code in rule.exit_codes)
        and (not rule.pod_reasons or pod_reason in rule.pod_reasons)
        and (rule.message is None or rule.message.search(text) is not None)
    )


def _evidence(rule: NodeRule, node: Node) -> str | None:
    if (test := rule.condition) is not None:
        for condition in node.conditions:
            matches = test.reason is None or test.reason.search(condition.reason)
            if condition.type == test.type and condition.status == test.status and matches:
                text = f"{condition.reason}{': ' if condition.message else ''}{condition.message}"
                detail = f" ({text})" if condition.reason else ""
                return f"node {node.name} has {condition.type}={condition.status}{detail}"
    if (label := rule.label) is not None and (value := node.labels.get(label.key)) is not None:
        bad = value in label.values if label.values else value not in label.not_values
        return f"node {node.name} has the label {label.key}={value}" if bad else None
    if (taint_test := rule.taint) is not None:
        for taint in node.taints:
            same = taint_test.value in (None, taint.value) and taint_test.effect in (None, taint.effect)
            if taint.key == taint_test.key and same:
                return f"node {node.name} has the taint {taint.key}"
    return None


def _signal(rule: FailureRule | NodeRule, evidence: str = "") -> Signal:
    return Signal(rule.name, rule.cause, rule.counted, rule.restart_scope, rule.exclude, evidence)
