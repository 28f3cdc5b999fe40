"""Which linears a target of LoRA names, and how many parameters it trains: PEFT's counts, both sources, experts."""

import json
from pathlib import Path
from typing import Any, Final

import pytest

from key_cases import text_with
from neuron_api import checks
from neuron_api.config import PeftConfig, TrainingConfig
from neuron_api.derive import adapters, architecture
from neuron_api.derive.adapters import Target
from neuron_api.derive.architecture import Architecture, ExpertSizes
from neuron_api.derive.sharding import Sharding
from neuron_api.findings.finding import Finding
from neuron_api.loading.loader import load_text

ORACLES: Final = Path(__file__).parents[2] / "data" / "alignment"
COUNTS: Final = json.loads((ORACLES / "lora" / "counts_and_names.json").read_text())
PEFT: Final = "model_alignment_strategy.peft"


def config(base: str = "hf_llama3_8B_SFT_lora_config", **peft: Any) -> TrainingConfig:
    changes = {f"{PEFT}.{key}": value for key, value in peft.items()}
    if base.startswith("megatron"):
        changes = {"model_alignment_strategy": {"sft": {}, "peft": {}}, **changes}
    loaded = load_text(text_with(base, changes))
    assert loaded.config is not None, loaded.findings
    return loaded.config


def llama(name: str = "config") -> Architecture:
    sizes = config().model.model_copy(update={"num_layers": None, "hidden_size": None})
    model, _ = architecture.from_json(json.loads((ORACLES / "weights" / f"{name}.json").read_text()), sizes)
    assert model is not None
    return model


MODELS: Final = {"base": "config", "base_bias": "config_bias"}


@pytest.mark.parametrize("row", COUNTS["counts"], ids=lambda row: "-".join(map(str, list(row.values())[:5])))
def test_as_many_parameters_are_trained_as_with_peft(row: dict[str, Any]) -> None:
    targets = tuple(row["target_modules"])
    peft = PeftConfig(lora_rank=row["r"], target_modules=targets, lora_bias=row["bias"])
    trained = adapters.whole(llama(MODELS[row["base"]]), peft)
    assert (trained.total, trained.biases) == (row["trainable"], row["bias_elements"])


def test_a_joined_target_has_one_a_and_its_parts_have_three() -> None:
    fused, rank = COUNTS["fused_qkv"], COUNTS["fused_qkv"]["r"]
    counts = [
        adapters.whole(llama(), PeftConfig(lora_rank=rank, target_modules=targets)).total
        for targets in (("qkv_proj",), ("q_proj", "k_proj", "v_proj"))
    ]
    assert counts == [fused["elements_shared_A"], fused["elements_separate_A"]]


@pytest.mark.parametrize("targets", COUNTS["embedding_and_head"])
def test_embedding_and_head_have_adapters_of_their_own_sizes(targets: str) -> None:
    shapes = [
        shape for shape, _ in COUNTS["embedding_and_head"][targets]["trainable [shape, max abs at start]"].values()
    ]
    peft = PeftConfig(lora_rank=4, target_modules=tuple(targets.split(",")))
    assert adapters.whole(llama(), peft).total == sum(rows * columns for rows, columns in shapes)


def test_a_process_has_its_part_of_the_split_matrices() -> None:
    """q: A whole, B by rows; o: A by columns, B whole; shared key heads: B whole."""
    model, rank = llama(), 8

    def own(target: str, **split: int) -> int:
        peft = PeftConfig(lora_rank=rank, target_modules=(target,))
        layer = [range(1)]
        return adapters.trained(model, peft, Sharding(**split), layer, is_first=False, is_last=False).total

    assert own("q_proj", tensor=2) == rank * (64 + 32)
    assert own("o_proj", tensor=2) == rank * (32 + 64)
    assert own("k_proj", tensor=2) == rank * (64 + 16)
    assert own("k_proj", tensor=4, kv_copies=2) == rank * (64 + 32)


def test_stages_train_what_their_layers_have() -> None:
    model, peft = llama(), PeftConfig(target_modules=("o_proj", "embed_tokens", "lm_head"))
    stages = [
        adapters.trained(model, peft, Sharding(), [range(stage, stage + 1)], is_first=stage == 0, is_last=stage == 1)
        for stage in range(2)
    ]
    assert sum(stage.total for stage in stages) == adapters.whole(model, peft).total


# ---- names -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "target"), [
    ("q_proj", Target("self_attn.q_proj")), ("self_attn.q_proj", Target("self_attn.q_proj")),
    ("mlp.gate_up_proj", Target("mlp.gate_up_proj")), ("model.embed_tokens", Target("model.embed_tokens")),
    ("model.layers.1.self_attn.qkv_proj", Target("self_attn.qkv_proj", 1)), ("lm_head", Target("lm_head")),
    ("1.mlp.up_proj", Target("mlp.up_proj", 1)), ("model.layers.2.mlp.up_proj", None), ("attn.q_proj", None),
    ("proj", None), ("1.q_proj", None), ("1.lm_head", None), ("embed", None), ("", None),
])  # fmt: skip
def test_a_target_is_the_end_of_a_modules_name(name: str, target: Target | None) -> None:
    assert adapters.find(llama(), name) == target


def mixture(every: int) -> Architecture:
    experts = ExpertSizes(count=4, per_token=2, every=every, capacity=None)
    return Architecture("mixtral", 4, 64, 4, 2, 16, 80, 128, experts=experts)


def test_experts_are_stacked_weights_and_layers_between_them_have_an_mlp() -> None:
    assert adapters.find(mixture(1), "up_proj") is None
    assert adapters.find(mixture(1), "qkv_proj") is not None
    assert adapters.find(mixture(2), "up_proj") == Target("mlp.up_proj")
    assert adapters.find(mixture(2), "0.mlp.up_proj") is None
    assert adapters.find(mixture(2), "1.mlp.up_proj") == Target("mlp.up_proj", 1)
    one = adapters.whole(mixture(2), PeftConfig(target_modules=("1.mlp.up_proj",))).total
    assert adapters.whole(mixture(2), PeftConfig(target_modules=("up_proj",))).total == 2 * one


def findings(model: Architecture, **peft: Any) -> list[Finding]:
    changed = config(**peft)
    return [*checks.alignment.check(changed), *checks.adapters.check(changed, model)]


@pytest.mark.parametrize(("targets", "words"), [
    (["qv_proj"], ["no module's name ends with 'qv_proj'", "Did you mean qkv_proj?"]),
    (["q_proj", "o_porj"], ["no module's name ends with 'o_porj'", "Did you mean o_proj?"]),
    (["all-linear"], ["'all-linear'", "Use qkv_proj"]),
    (["qkv"], ["'qkv'", "Did you mean qkv_proj?"]),
    ([], ["it is empty"]),
    (["layers.7.self_attn.q_proj"], ["no module of this model ends with 'layers.7.self_attn.q_proj'"]),
])  # fmt: skip
def test_a_target_that_matches_nothing_names_the_near_miss_and_what_there_is(
    targets: list[str], words: list[str]
) -> None:
    [finding] = [one for one in findings(llama(), target_modules=targets) if one.code == "NTJ-2907"]
    assert finding.severity == "error"
    assert all(word in str(finding) for word in words)
    assert "lm_head" in finding.remedy


def test_experts_and_a_model_without_a_gate_say_why() -> None:
    [finding] = [
        one for one in findings(mixture(1), target_modules=["q_proj", "gate_up_proj"]) if one.code == "NTJ-2907"
    ]
    assert "experts are stacked weights, which get no adapters" in finding.message
    assert "up_proj" not in finding.remedy
    gpt = config("megatron_gpt_config", target_modules=["gate_proj"])
    sizes = architecture.from_megatron(gpt)
    assert sizes is not None
    [finding] = list(checks.adapters.check(gpt, sizes))
    assert "'gate_proj'" in finding.message
    assert finding.remedy.startswith("Did you mean ")


def test_a_megatron_model_is_checked_with_the_file_alone() -> None:
    loaded = load_text(text_with("megatron_gpt_config", {
        "model_alignment_strategy": {"sft": {}, "peft": {"target_modules": ["gate_proj"]}},
    }))  # fmt: skip
    assert "NTJ-2907" in [one.code for one in loaded.errors]


@pytest.mark.parametrize(("targets", "rank", "words"), [
    (["k_proj"], 33, "33 is above the rank of self_attn.k_proj, a matrix of 64 x 32"),
    (["qkv_proj"], 32, ""), (["o_proj"], 64, ""),
])  # fmt: skip
def test_a_rank_above_a_linears_is_a_warning(targets: list[str], rank: int, words: str) -> None:
    found = [one for one in findings(llama(), target_modules=targets, lora_rank=rank) if one.code == "NTJ-2911"]
    assert [one.severity for one in found] == (["warning"] if words else [])
    assert all(words in one.message for one in found)
