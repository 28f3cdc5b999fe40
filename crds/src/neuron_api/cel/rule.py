"""A rule of the CRD: the condition under which the API server refuses an object, and a message from the table of codes;
and its scope, the deepest section that holds its key and every key that it reads.

Messages are fixed texts: the API server estimates a `messageExpression` over int-or-string values at more than 100
times its budget (Kubernetes 1.34). The same finding with numbers comes from `kubectl neuron plan` and the operator.

The API server evaluates a rule only if its scope is present, and each step of a path costs it a copy of the schemas of
all neighbours (`Structural.Properties` in Kubernetes 1.34): a rule on the key itself is nearly free. So a rule must
never refuse the absence of its scope; `tests/unit/api/test_rule.py` checks that with the loader.

`rules_of` and `to_cel` turn the rules and conditions of `checks.rule` into these.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import takewhile
from typing import Any, Final

from neuron_api.checks.rule import AllOf, Condition, ConfigRule, Equals, IsAbove, IsOn, IsOther, IsSet
from neuron_api.findings.registry import ENTRIES, make_finding

from .expressions import flag, is_above, is_other, raw, untyped

Validation = dict[str, str]
"""An item of `x-kubernetes-validations`."""

_SPEC: Final = "spec"


class RuleReason(StrEnum):
    """How the API server introduces the message."""

    INVALID = "FieldValueInvalid"
    """Its default."""
    REQUIRED = "FieldValueRequired"
    """Something is missing."""
    FORBIDDEN = "FieldValueForbidden"
    """Something must not be there."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One code at one key."""

    number: int
    """1402 of NTJ-1402."""
    key: str
    """`trainer.devices`; with `spec.` in front when it is not of the configuration."""
    refuse_if: str
    """CEL: true when the object is refused."""
    expected: str = ""
    """What would be legal, in place of the table's cause if one code is about many keys."""
    remedy: str = ""
    """In place of the table's."""
    reason: RuleReason = RuleReason.INVALID

    @property
    def message(self) -> str:
        """Return key, cause, remedy and code as one text."""
        cause = f"{self.expected}." if self.expected else ENTRIES[f"NTJ-{self.number}"].cause
        return str(make_finding(self.number, self.key, cause, self.remedy or None))

    def in_section(self, place: str, refuse_if: str) -> Validation:
        """Return the rule of a section, with the condition relative to it; an empty place is the whole
        configuration."""
        return self._validation(f".{self.key}".removeprefix(f".{place}") if place else f".{self.key}", refuse_if)

    def in_spec(self) -> Validation:
        """Return the rule of `spec`."""
        path = self.key.removeprefix(_SPEC) if self.key.startswith(f"{_SPEC}.") else f".config.{self.key}"
        return self._validation(path, self.refuse_if)

    def on_key(self) -> Validation:
        """Return the rule of the key itself."""
        return self._validation("", self.refuse_if)

    def _validation(self, path: str, refuse_if: str) -> Validation:
        condition = refuse_if.replace("'", '"')  # which YAML need not double
        validation = {"rule": f"!({condition})", "message": self.message}
        if path:
            validation["fieldPath"] = path
        if self.reason is not RuleReason.INVALID:
            validation["reason"] = self.reason.value
        return validation


ConfigSchema = dict[str, Any]

_READ: Final = re.compile(r"\bself\)?((?:\.\??\w+\b(?!\())*)")
"""A path in an expression, without a call at its end."""
_DEFAULT: Final = r"""\.orValue\((?:[^()"']*|"[^"]*"|'[^']*')\)"""


def add_rules(schema: ConfigSchema, rules: Iterable[Rule]) -> ConfigSchema:
    """Return the schema of the configuration with these rules, each at its scope."""
    for rule in rules:
        scope = scope_of(rule, schema)
        validation = rule.in_section(".".join(scope), within(scope, rule.refuse_if))
        _node(schema, scope).setdefault("x-kubernetes-validations", []).append(validation)
    return schema


def scope_of(rule: Rule, schema: ConfigSchema) -> Sequence[str]:
    """Return the keys from the configuration down to the rule's scope, which has a type, as CEL requires."""
    steps = zip(rule.key.split("."), *reads(rule.refuse_if), strict=False)
    scope = [keys[0] for keys in takewhile(lambda keys: len(set(keys)) == 1, steps)]
    while not _has_type(_node(schema, scope)):
        scope = scope[:-1]
    return scope


def reads(expression: str) -> Iterator[Sequence[str]]:
    """Yield the keys of every path in an expression."""
    for path in _READ.findall(expression):
        yield path.replace("?", "").split(".")[1:]


def within(scope: Sequence[str], expression: str) -> str:
    """Return an expression over the configuration as one over a section, which is present whenever it is evaluated."""
    if not scope:
        return expression
    prefix = r"\bself(\)?)" + "".join(rf"\.\??{key}\b" for key in scope)
    relative = re.sub(rf"{prefix}\.hasValue\(\)", "true", expression)
    relative = re.sub(rf"{prefix}{_DEFAULT}", r"self\1", relative)
    relative = re.sub(prefix, r"self\1", relative)
    return re.sub(r"(?<![!\w])true && ", "", relative)


def _node(schema: ConfigSchema, scope: Sequence[str]) -> ConfigSchema:
    for key in scope:
        schema = schema["properties"][key]
    return schema


def _has_type(node: ConfigSchema) -> bool:
    return "type" in node or "x-kubernetes-int-or-string" in node


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
