"""Where rules of the CRD stand, and that none refuses the absence of what it stands on."""

import copy
from typing import Any

import pytest

from neuron_api import cel
from neuron_api.cel import Rule
from neuron_api.cel import rule as scoping
from neuron_api.loading.loader import load_object
from neuron_api.manifest import crd
from neuron_api.manifest.openapi import config_schema
from refusals import HF, MEGATRON, SFT, job

Json = dict[str, Any]

SCHEMA = config_schema()
PLACED = [(rule, tuple(scoping.scope_of(rule, SCHEMA))) for rule in cel.config_rules()]
IDS = [f"{rule.number}-{rule.key}" for rule, _ in PLACED]
ROOT = ("spec", "config")


def wires(path: tuple[str, ...]) -> list[dict[str, str]]:
    """The rules of one part in the CRD."""
    node = crd.definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for key in (*ROOT, *path):
        node = node["properties"][key]
    found: list[dict[str, str]] = node["x-kubernetes-validations"]
    return found


def standing(number: int, key: str) -> tuple[str, ...]:
    """Where a rule stands."""
    return next(path for rule, path in PLACED if (rule.number, rule.key) == (number, key))


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "path"), PLACED, ids=IDS)
def test_a_rule_is_found_once_and_points_at_its_key(rule: Rule, path: tuple[str, ...]) -> None:
    (wire,) = [wire for wire in wires(path) if wire["message"] == rule.message]
    assert ".".join(path) + wire.get("fieldPath", "") in (rule.key, f".{rule.key}")


@pytest.mark.parametrize(("rule", "path"), PLACED, ids=IDS)
def test_a_rule_reads_nothing_above_the_part_it_stands_on(rule: Rule, path: tuple[str, ...]) -> None:
    assert all(tuple(keys[: len(path)]) == path for keys in scoping.reads(rule.refuse_if))
    within = scoping.within(path, rule.refuse_if)
    assert not path or f"{'.?'.join(path)}" not in within


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "path"), [(rule, path) for rule, path in PLACED if path])
@pytest.mark.parametrize("base", (HF, MEGATRON, SFT))
def test_the_loader_does_not_refuse_the_absence_of_the_part_either(
    rule: Rule, path: tuple[str, ...], base: str
) -> None:
    """The server asks a rule only where its part is there, so nothing may be lost where it is not."""
    config = copy.deepcopy(job(base, "x", {})["spec"]["config"])
    parent = config
    for key in path[:-1]:
        parent = parent.get(key) or {}
    parent.pop(path[-1], None)
    assert (f"NTJ-{rule.number}", rule.key) not in [(one.code, one.key) for one in load_object(config).errors]


def test_a_rule_of_one_key_stands_on_the_key_and_reads_itself() -> None:
    assert standing(2515, "model.use_emha") == ("model", "use_emha")
    assert scoping.within(("model", "use_emha"), "self.model.?use_emha.orValue(false)") == "self"
    assert (
        scoping.within(("a", "b"), "self.?a.?b.hasValue() && type(self.?a.?b.orValue(0)) == int") == "type(self) == int"
    )
    assert scoping.within(("a",), "!self.?a.hasValue()") == "!true"


def test_a_key_whose_type_is_left_open_is_asked_from_its_section() -> None:
    """CEL does not know such keys (`unknownPreserved`)."""
    assert standing(2101, "trainer.callbacks") == ("trainer",)
    assert scoping.within(("trainer",), "dyn(self).?trainer.?callbacks.hasValue()") == "dyn(self).?callbacks.hasValue()"


def test_a_rule_between_keys_stands_on_their_nearest_section() -> None:
    assert standing(2606, "model.optim.nesterov") == ("model", "optim")
    assert standing(2902, "model_alignment_strategy.dpo.max_prompt_length") == ("model_alignment_strategy", "dpo")


def test_a_rule_that_reads_two_sections_stands_on_the_configuration() -> None:
    assert standing(2310, "distributed_strategy.context_parallel_size") == ()


def test_a_key_that_begins_like_another_is_another() -> None:
    assert scoping.within(("trainer", "max"), "self.trainer.max_steps == -1") == "self.trainer.max_steps == -1"


def test_most_rules_cost_nothing_where_their_key_is_absent() -> None:
    """What the API server's cost of a write depends on: docs/design/012."""
    on_the_whole = [rule for rule, path in PLACED if not path]
    assert len(on_the_whole) < 50
    assert len(PLACED) > 125
