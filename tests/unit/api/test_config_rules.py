"""Rules that have one condition, for Python and for the API server.

What a real API server makes of them is in tests/integration/test_apply.py, by the cases of codes.yaml.
"""

from pathlib import Path
from typing import Any, Final

import pytest

from neuron_api.cel import config_rules
from neuron_api.cel.rule import to_cel
from neuron_api.checks import exp_manager, trainer
from neuron_api.checks.rule import AllOf, Condition, Equals, IsAbove, IsOn, IsOther, IsSet, holds
from neuron_api.config import TrainingConfig
from neuron_api.loading.loader import load_text

LLAMA: Final = (Path(__file__).parents[2] / "data" / "configs" / "hf_llama3_8B_config.yaml").read_text()
STEPS, SWITCH, TEXT = "trainer.max_steps", "exp_manager.save_bf16", "trainer.gradient_clip_algorithm"
CLIPPED: Final = "trainer.gradient_clip_val"


def config(*changes: str) -> TrainingConfig:
    loaded = load_text(LLAMA, changes)
    assert loaded.config is not None, loaded.findings
    return loaded.config


@pytest.mark.parametrize(
    ("condition", "change", "expected"),
    [
        (IsOn(SWITCH), "+exp_manager.save_bf16=True", True),
        (IsOn(SWITCH), "+exp_manager.save_bf16=False", False),
        (IsSet(CLIPPED), "+trainer.gradient_clip_val=1", True),
        (IsSet(CLIPPED), "+trainer.gradient_clip_val=null", False),
        (Equals(STEPS, 7), "trainer.max_steps=7", True),
        (Equals(STEPS, 7), "trainer.max_steps=8", False),
        (IsAbove(STEPS, 7), "trainer.max_steps=8", True),
        (IsAbove(STEPS, 7), "trainer.max_steps=7", False),
        (IsOther(TEXT, ("norm",)), "+trainer.gradient_clip_algorithm=value", True),
        (IsOther(TEXT, ("norm", "value")), "+trainer.gradient_clip_algorithm=value", False),
        (AllOf((Equals(STEPS, 7), IsOn(SWITCH))), "trainer.max_steps=7", False),
        (AllOf((Equals(STEPS, 7), IsSet(CLIPPED))), "trainer.max_steps=7", True),
        (IsOn("model.moe.dropless"), "trainer.max_steps=7", False),
    ],
)
def test_a_condition_holds(condition: Condition, change: str, expected: bool) -> None:
    assert holds(condition, config(change)) is expected


@pytest.mark.parametrize("rule", [*trainer.RULES, *exp_manager.RULES], ids=lambda rule: f"{rule.number}-{rule.key}")
def test_the_api_server_checks_the_same_condition(rule: Any) -> None:
    served = {(one.number, one.key): one.refuse_if for one in config_rules()}
    assert served[rule.number, rule.key] == to_cel(rule.refuse_if)
    assert rule.cause(config()).endswith(".")
