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
    platform,
    scheduling,
    spellings,
    trainer,
    values,
    world,
)
from .rule import Rule, Wire

__all__ = ["Rule", "add_value_rules", "config_rules", "of_config", "of_spec", "root_rules", "spec_rules"]

_OF_CONFIG = (trainer, exp_manager, parallel, data, model, optim, alignment, spellings)
_OF_SPEC = (platform, world)

add_value_rules = values.add
root_rules = identity.root_rules


def of_config() -> Iterator[Rule]:
    """Rules between keys of the configuration."""
    return chain.from_iterable(section.rules() for section in _OF_CONFIG)


def of_spec() -> Iterator[Rule]:
    """Rules between the configuration and the platform."""
    return chain.from_iterable(section.rules() for section in _OF_SPEC)


def config_rules() -> list[Wire]:
    """`x-kubernetes-validations` of `spec.config`."""
    return [rule.of_config() for rule in of_config()]


def spec_rules() -> list[Wire]:
    """`x-kubernetes-validations` of `spec`."""
    return [*identity.spec_rules(), *scheduling.spec_rules(), *(rule.of_spec() for rule in of_spec())]
