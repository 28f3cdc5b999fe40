"""The table of B-2."""

from pathlib import Path

import pytest

from neuron_api.loading.loader import load_text
from neuron_api.platform.environment import apply, derive

LLAMA = (Path(__file__).parents[2] / "data" / "configs" / "hf_llama3_8B_config.yaml").read_text()


def environment(*overrides: str, present: dict[str, str] | None = None) -> dict[str, str]:
    loaded = load_text(LLAMA, overrides)
    assert loaded.config is not None
    return apply(derive(loaded.config), present or {})


def test_the_keys_of_a_real_configuration_become_variables() -> None:
    assert environment() == {
        "NEURON_FUSE_SOFTMAX": "1",
        "NEURON_EXPERIMENTAL_COMPRESS_RG": "0",
        "NEURON_RT_ASYNC_EXEC_MAX_INFLIGHT_REQUESTS": "5",
        "BUCKET_CAP_MB": "1024",
        "ALLREDUCE_BUCKET_CAP_MB": "1024",
        "ALL_GATHER_REDUCE_SCATTER_BUCKET_CAP_MB": "130",
        "NEURON_COMPILE_CACHE_URL": "/home/ubuntu/neuron_cache",
        "NEURON_RT_EXEC_TIMEOUT": "100",
        "XLA_USE_BF16": "0",
        "XLA_DOWNCAST_BF16": "1",
        "NEURON_RT_STOCHASTIC_ROUNDING_EN": "0",
        "NEURON_CC_FLAGS": "--model-type transformer --enable-mixed-precision-accumulation",
    }


def test_a_value_of_the_user_wins_and_compiler_flags_are_appended() -> None:
    made = environment(present={"NEURON_FUSE_SOFTMAX": "0", "NEURON_CC_FLAGS": "--O1"})
    assert "NEURON_FUSE_SOFTMAX" not in made
    assert made["NEURON_CC_FLAGS"] == "--O1 --model-type transformer --enable-mixed-precision-accumulation"


@pytest.mark.parametrize(
    ("kind", "use", "downcast", "rounding"),
    [
        ("mixed_precision", "0", "1", "0"),
        ("mixed_precisionSR", "0", "1", "1"),
        ("mixed_precision_SR", "0", "1", "1"),
        ("bf16SR", "1", "0", "1"),
        ("fp32", "0", "0", None),
        ("autocast", "0", "0", "0"),
        ("manual", "0", "0", "0"),
    ],
)
def test_the_precision_type_sets_its_variables(kind: str, use: str, downcast: str, rounding: str | None) -> None:
    made = environment(f"precision.type={kind}")
    assert made["XLA_USE_BF16"] == use
    assert made["XLA_DOWNCAST_BF16"] == downcast
    assert made.get("NEURON_RT_STOCHASTIC_ROUNDING_EN") == rounding


def test_a_full_precision_run_does_not_cast() -> None:
    assert environment("precision.type=fp32")["NEURON_CC_FLAGS"] == "--model-type transformer --auto-cast none"


def test_lnc_reaches_the_runtime() -> None:
    assert environment("trainer.lnc=2")["NEURON_LOGICAL_NC_CONFIG"] == "2"
