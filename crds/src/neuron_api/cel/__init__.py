"""Rules that the API server checks at `kubectl apply`, with the messages of the offline checks: a module per section.

Every error that the object alone shows has a rule here; warnings, floats, files and interpolated values are left to the
operator. A rule says when the object is refused, so it reads like the check of the same code in `checks`.
"""

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, Final

from neuron_api.findings.finding import Finding

from . import alignment, data, model, optim, parallel, platform, rule, spec, trainer, values
from .rule import Rule, Validation

__all__ = [
    "BESIDE_CONFIG",
    "Rule",
    "add_config_rules",
    "of_config",
    "of_spec",
    "root_rules",
    "spec_findings",
    "spec_rules",
    "wires",
]

_CONFIG_MODULES = (trainer, parallel, data, model, optim, alignment)

root_rules = spec.root_rules
BESIDE_CONFIG: Final = spec.RULES
"""Rules of the spec outside the configuration."""


def config_rules() -> Iterator[Rule]:
    """Yield the rules between keys of the configuration."""
    return chain(*(section.rules() for section in _CONFIG_MODULES), values.alias_rules())


def platform_rules() -> Iterator[Rule]:
    """Yield the rules between the configuration and the platform."""
    return platform.rules()


def add_config_rules(schema: values.Schema) -> values.Schema:
    """Return the schema of `spec.config` with all its rules."""
    return rule.add_rules(values.add(schema), config_rules())


def spec_rules() -> list[Validation]:
    """Return `x-kubernetes-validations` of `spec`."""
    return [*spec_validations("spec"), *(rule.in_spec() for rule in platform_rules())]


def spec_validations(part: str) -> list[Validation]:
    """Return `x-kubernetes-validations` of a part of the spec, without those of the configuration."""
    return [rule.validation() for rule in BESIDE_CONFIG if rule.part == part]


def spec_findings(fields: Mapping[str, Any]) -> tuple[Finding, ...]:
    """Return the API server's findings about a `spec` outside its configuration."""
    return tuple(spec.findings(BESIDE_CONFIG, fields))
