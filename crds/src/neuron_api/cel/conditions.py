"""The conditions of `checks.rule` as CEL, and its rules as rules of the CRD."""

from collections.abc import Iterable, Iterator

from neuron_api.checks.rule import AllOf, Condition, ConfigRule, Equals, IsAbove, IsOn, IsOther, IsSet

from .expressions import flag, is_above, is_other, raw, untyped
from .rule import Rule, RuleReason


def rules_of(rules: Iterable[ConfigRule]) -> Iterator[Rule]:
    """Yield the API server's form of rules."""
    for rule in rules:
        reason = RuleReason.FORBIDDEN if rule.is_forbidden else RuleReason.INVALID
        yield Rule(rule.number, rule.key, to_cel(rule.refuse_if), reason=reason)


def to_cel(condition: Condition) -> str:
    """Return an expression over the configuration that is true if the condition holds."""
    match condition:
        case AllOf(conditions):
            return " && ".join(map(to_cel, conditions))
        case IsOn(key):
            return flag(key)
        case IsSet(key):
            return f"{untyped(key)}.hasValue()"
        case Equals(key, value):
            return f"{raw(key, absent=value - 1)} == {value}"
        case IsAbove(key, bound):
            return is_above(key, bound)
        case IsOther(key, allowed):
            return is_other(key, *allowed)
