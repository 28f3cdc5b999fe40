"""The table of B-2."""

from pathlib import Path

import pytest

from neuron_api.loading.loader import load_text
from neuron_api.platform.environment import apply, derive, overruled

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
        "XLA_DOWNCAST_BF16": "0",
        "NEURON_RT_STOCHASTIC_ROUNDING_EN": "0",
        "NEURON_CC_FLAGS": "--model-type transformer --enable-mixed-precision-accumulation --auto-cast none",
    }


def test_a_value_of_the_user_wins_and_compiler_flags_are_appended() -> None:
    made = environment(present={"NEURON_FUSE_SOFTMAX": "0", "NEURON_CC_FLAGS": "--O1"})
    assert "NEURON_FUSE_SOFTMAX" not in made
    assert (
        made["NEURON_CC_FLAGS"]
        == "--O1 --model-type transformer --enable-mixed-precision-accumulation --auto-cast none"
    )


@pytest.mark.parametrize(
    ("kind", "rounding"),
    [
        ("mixed_precision", "0"),
        ("mixed_precisionSR", "1"),
        ("mixed_precision_SR", "1"),
        ("bf16SR", "1"),
        ("fp32", None),
        ("autocast", "0"),
        ("manual", "0"),
    ],
)
def test_the_precision_type_sets_rounding_and_never_what_makes_bf16_of_masters(kind: str, rounding: str | None) -> None:
    keys = (f"precision.type={kind}", "+precision.xla_use_bf16=1", "+precision.xla_downcast_bf16=1")
    made = environment(*keys, present={"XLA_DOWNCAST_BF16": "1"})
    assert made["XLA_USE_BF16"] == made["XLA_DOWNCAST_BF16"] == "0"
    assert made.get("NEURON_RT_STOCHASTIC_ROUNDING_EN") == rounding


def test_a_value_of_the_user_that_makes_bf16_of_masters_is_overruled_with_a_sentence() -> None:
    loaded = load_text(LLAMA)
    assert loaded.config is not None
    present = {"XLA_USE_BF16": "0", "XLA_DOWNCAST_BF16": "1", "NEURON_FUSE_SOFTMAX": "0"}
    (sentence,) = overruled(derive(loaded.config), present)
    assert sentence.startswith("XLA_DOWNCAST_BF16=1 is not taken, it is 0 here: it would make bf16 of all fp32 tensors")


def test_the_users_way_of_casting_is_the_only_one() -> None:
    assert environment("compiler_flags=--auto-cast matmult")["NEURON_CC_FLAGS"] == (
        "--auto-cast matmult --enable-mixed-precision-accumulation"
    )


def test_a_full_precision_run_does_not_cast() -> None:
    assert environment("precision.type=fp32")["NEURON_CC_FLAGS"] == "--model-type transformer --auto-cast none"


def test_lnc_reaches_the_runtime() -> None:
    assert environment("trainer.lnc=2")["NEURON_LOGICAL_NC_CONFIG"] == "2"
