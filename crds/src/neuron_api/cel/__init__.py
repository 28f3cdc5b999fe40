"""Rules that the API server checks at `kubectl apply`, in the words of the offline checks: one module per section.

Everything that can be told from the object alone, and that is an error, has a rule here; warnings, floats, files and
what an interpolation hides are the operator's. A rule says when the object is refused, so it reads like the check of
the same code in `checks`.
"""

from collections.abc import Iterator
from itertools import chain

from . import (
    alignment,
    data,
    exp_manager,
    identity,
    model,
    optim,
    parallel,
    place,
    platform,
    scheduling,
    spellings,
    trainer,
    values,
    world,
)
from .rule import Rule, Wire

__all__ = ["Rule", "add_config_rules", "of_config", "of_spec", "root_rules", "scheduling_rules", "spec_rules"]

_OF_CONFIG = (trainer, exp_manager, parallel, data, model, optim, alignment, spellings)
_OF_SPEC = (platform, world)

root_rules = identity.root_rules
scheduling_rules = scheduling.rules


def of_config() -> Iterator[Rule]:
    """Rules between keys of the configuration."""
    return chain.from_iterable(section.rules() for section in _OF_CONFIG)


def of_spec() -> Iterator[Rule]:
    """Rules between the configuration and the platform."""
    return chain.from_iterable(section.rules() for section in _OF_SPEC)


def add_config_rules(schema: values.Schema) -> values.Schema:
    """The schema of `spec.config` with all its rules."""
    return place.add(values.add(schema), of_config())


def spec_rules() -> list[Wire]:
    """`x-kubernetes-validations` of `spec`."""
    return [*identity.spec_rules(), *scheduling.spec_rules(), *(rule.of_spec() for rule in of_spec())]
