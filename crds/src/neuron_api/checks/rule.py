"""A rule between keys as one object: when it refuses a configuration, and what it then says.

The condition is a small tree. `holds` evaluates it over a typed configuration; `cel.rule` writes it as CEL for
the API server. So a rule stands in one place, and both forms agree by construction. What needs more than these
conditions (divisions, several sections) is a function of a section's module, and an expression in `cel/` beside it.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel

from neuron_api.config import TrainingConfig
from neuron_api.findings.finding import Finding
from neuron_api.findings.registry import ENTRIES, make_finding


@dataclass(frozen=True, slots=True)
class IsOn:
    """A switch is True."""

    key: str


@dataclass(frozen=True, slots=True)
class IsSet:
    """A key is present and not null."""

    key: str


@dataclass(frozen=True, slots=True)
class Equals:
    """An integer key has this value."""

    key: str
    value: int


@dataclass(frozen=True, slots=True)
class IsAbove:
    """An integer key is more than the bound."""

    key: str
    bound: int


@dataclass(frozen=True, slots=True)
class IsOther:
    """A text is none of the allowed ones."""

    key: str
    allowed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every condition holds."""

    conditions: tuple["Condition", ...]


Condition = IsOn | IsSet | Equals | IsAbove | IsOther | AllOf


@dataclass(frozen=True, slots=True)
class ConfigRule:
    """One code at one key."""

    number: int
    """1402 of NTJ-1402."""
    key: str
    refuse_if: Condition
    cause: Callable[[TrainingConfig], str]
    """What is wrong."""
    remedy: str = ""
    """In place of the table's."""
    is_forbidden: bool = False
    """Whether the key must not be there at all: the API server then introduces its message with Forbidden."""


def for_keys(
    number: int, cause: Callable[[str], str], condition: Callable[[str], Condition], **more: Any
) -> list[ConfigRule]:
    """Return one rule for each key of a code; `cause` is called with the key's last part."""
    keys = ENTRIES[f"NTJ-{number}"].keys
    return [ConfigRule(number, key, condition(key), _constant(cause(key.rpartition(".")[2])), **more) for key in keys]


def _constant(text: str) -> Callable[[TrainingConfig], str]:
    return lambda _: text


def findings(rules: Iterable[ConfigRule], config: TrainingConfig) -> Iterator[Finding]:
    """Yield a finding for each rule that refuses the configuration."""
    for rule in rules:
        if holds(rule.refuse_if, config):
            yield make_finding(rule.number, rule.key, rule.cause(config), rule.remedy or None)


def holds(condition: Condition, config: TrainingConfig) -> bool:
    """Return whether a condition is true of a configuration."""
    if isinstance(condition, AllOf):
        return all(holds(part, config) for part in condition.conditions)
    value = value_at(config, condition.key)
    match condition:
        case IsOn():
            return value is True
        case IsSet():
            return value is not None
        case Equals(_, expected):
            return not isinstance(value, bool) and value == expected
        case IsAbove(_, bound):
            return isinstance(value, int) and value > bound
        case IsOther(_, allowed):
            return value is not None and value not in allowed


def value_at(config: TrainingConfig, key: str) -> Any:
    """Return the value of a key; None if a section above it is absent."""
    node: Any = config
    for part in key.split("."):
        if not isinstance(node, BaseModel):
            return None
        node = getattr(node, _names(type(node))[part])
    return node


@cache
def _names(section: type[BaseModel]) -> dict[str, str]:
    """Return a section's attributes by their keys in the document."""
    return {info.alias or name: name for name, info in section.model_fields.items()}
