"""Rules that the API server checks at `kubectl apply`, in the words of the offline checks: one module per section.

Everything that can be told from the object alone, and that is an error, has a rule here; warnings, floats, files and
what an interpolation hides are the operator's. A rule says when the object is refused, so it reads like the check of
the same code in `checks`.
"""

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, Final

from neuron_api.findings.finding import Finding

from . import (
    aliases,
    alignment,
    data,
    exp_manager,
    identity,
    model,
    optim,
    parallel,
    platform,
    scheduling,
    scoping,
    spec_rule,
    trainer,
    values,
    world_size,
)
from .rule import Rule, Wire

__all__ = [
    "BESIDE_CONFIG", "Rule", "add_config_rules", "of_config", "of_spec", "root_rules", "spec_findings", "spec_rules",
    "wires",
]  # fmt: skip

_OF_CONFIG = (trainer, exp_manager, parallel, data, model, optim, alignment, aliases)
_OF_SPEC = (platform, world_size)

root_rules = identity.root_rules
BESIDE_CONFIG: Final = (*identity.RULES, *scheduling.RULES)
"""Rules of the spec beside the configuration."""


def of_config() -> Iterator[Rule]:
    """Rules between keys of the configuration."""
    return chain.from_iterable(section.rules() for section in _OF_CONFIG)


def of_spec() -> Iterator[Rule]:
    """Rules between the configuration and the platform."""
    return chain.from_iterable(section.rules() for section in _OF_SPEC)


def add_config_rules(schema: values.Schema) -> values.Schema:
    """The schema of `spec.config` with all its rules."""
    return scoping.add(values.add(schema), of_config())


def spec_rules() -> list[Wire]:
    """`x-kubernetes-validations` of `spec`."""
    return [*wires("spec"), *(rule.of_spec() for rule in of_spec())]


def wires(part: str) -> list[Wire]:
    """`x-kubernetes-validations` of a part of the spec, as far as they are beside the configuration."""
    return [rule.wire() for rule in BESIDE_CONFIG if rule.part == part]


def spec_findings(spec: Mapping[str, Any]) -> tuple[Finding, ...]:
    """What the API server would say of a `spec` beside its configuration, in its words."""
    return tuple(spec_rule.findings(BESIDE_CONFIG, spec))
