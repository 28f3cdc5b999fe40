"""What follows from `model_alignment_strategy`: algorithm, reference, weights of tokens; its checks; a changed key."""

from typing import Any

import pytest

from key_cases import text_with
from neuron_api import resumption
from neuron_api.config import TrainingConfig
from neuron_api.derive import alignment
from neuron_api.derive.alignment import Reference
from neuron_api.findings.finding import Finding
from neuron_api.loading.loader import Loaded, load_text
from neuron_api.resumption import Difference, Effect

DPO, LORA = "hf_llama3_8B_DPO_config", "hf_llama3_8B_SFT_lora_config"
STRATEGY = "model_alignment_strategy"
PAIRS = {"max_prompt_length": 100}


def loaded(base: str = DPO, **strategy: Any) -> Loaded:
    return load_text(text_with(base, *replaced(strategy)))


def replaced(strategy: dict[str, Any]) -> list[dict[str, Any]]:
    """The section in place of the file's."""
    return [{STRATEGY: None}, {STRATEGY: strategy}] if strategy else []


def config(base: str = DPO, **strategy: Any) -> TrainingConfig:
    result = loaded(base, **strategy).config
    assert result is not None
    return result


def of_code(code: int, changes: dict[str, Any], base: str = DPO) -> list[Finding]:
    others = {key: value for key, value in changes.items() if key != STRATEGY}
    text = text_with(base, *replaced(changes.get(STRATEGY, {})), others)
    return [finding for finding in load_text(text).findings if finding.code == f"NTJ-{code}"]


# ---- what follows ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("strategy", "reference"), [
    ({"dpo": PAIRS}, Reference.PRECOMPUTED),
    ({"dpo": PAIRS, "peft": {"lora_bias": "all"}}, Reference.PRECOMPUTED),
    ({"dpo": {**PAIRS, "precompute_ref_log_probs": False}}, Reference.SECOND_MODEL),
    ({"dpo": {**PAIRS, "precompute_ref_log_probs": False}, "peft": {}}, Reference.WITHOUT_ADAPTERS),
    ({"dpo": {**PAIRS, "precompute_ref_log_probs": False}, "peft": {"lora_bias": "all"}}, Reference.WITHOUT_ADAPTERS),
    ({"orpo": PAIRS}, None), ({"sft": {}}, None), ({"peft": {}}, None),
])  # fmt: skip
def test_where_the_reference_comes_from(strategy: dict[str, Any], reference: Reference | None) -> None:
    """Adapters off give the start model back only if nothing else was trained."""
    assert alignment.reference(config(**strategy)) is reference


@pytest.mark.parametrize(("changes", "weighs"), [
    ({}, False), ({"sft": {"token_weighted_loss": True}}, True),
    ({"sft": {}, "model.token_weighted_loss": True}, True), ({"dpo": PAIRS, "model.token_weighted_loss": True}, False),
])  # fmt: skip
def test_either_key_weighs_tokens_and_pairs_weigh_the_same(changes: dict[str, Any], weighs: bool) -> None:
    strategy = {key: value for key, value in changes.items() if "." not in key}
    others = {key: value for key, value in changes.items() if "." in key}
    result = load_text(text_with(LORA, *replaced(strategy or {"sft": {}}), others)).config
    assert result is not None
    assert alignment.weighs_tokens(result) is weighs


def test_records_are_isolated_only_in_packed_rows() -> None:
    isolated, padded = ({"packing": packing, "isolate_records": True} for packing in (True, False))
    assert alignment.isolates_records(config(sft=isolated))
    assert not alignment.isolates_records(config(sft=padded))


# ---- checks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("changes", "words"), [
    ({}, ""), ({"exp_manager.resume_from_checkpoint": None}, "policy and reference of dpo are random weights"),
    ({"exp_manager.resume_from_checkpoint": None, f"{STRATEGY}.peft": {}}, "the frozen base of the adapters is random"),
    ({"exp_manager.resume_from_checkpoint": None, STRATEGY: {"orpo": PAIRS}}, ""),
    ({"exp_manager.resume_from_checkpoint": None, STRATEGY: {"sft": {}}}, ""),
])  # fmt: skip
def test_random_weights_that_are_never_trained_are_a_warning(changes: dict[str, Any], words: str) -> None:
    found = of_code(2913, changes)
    assert [finding.severity for finding in found] == (["warning"] if words else [])
    assert all(words in finding.message for finding in found)


@pytest.mark.parametrize("key", ["data.packing", "model.token_weighted_loss"])
def test_a_key_of_sft_beside_pairs_is_a_warning(key: str) -> None:
    assert [finding.key for finding in of_code(2914, {key: True})] == [key]
    assert of_code(2914, {key: True}, LORA) == []


def test_lora_alone_is_sft_with_a_note() -> None:
    result = loaded(peft={})
    assert result.config is not None
    assert alignment.strategy(result.config) == "sft+peft"
    assert [finding.severity for finding in result.findings if finding.code == "NTJ-2909"] == ["note"]


@pytest.mark.parametrize("base", ["hf_llama3_8B_SFT_config", LORA, DPO])
def test_published_files_have_no_finding_about_their_strategy(base: str) -> None:
    assert [finding for finding in loaded(base).findings if finding.code.startswith("NTJ-29")] == []


# ---- a changed key on a resume -----------------------------------------------------------------------------------


def changed(base: str, changes: dict[str, Any]) -> dict[str, Difference]:
    before, after = (load_text(text_with(base, values)).config for values in ({}, changes))
    assert before is not None
    assert after is not None
    found = resumption.compare(resumption.effective(before), resumption.effective(after))
    return {difference.key: difference for difference in found}


@pytest.mark.parametrize(("base", "key", "value", "effect"), [
    (DPO, "dpo.kl_beta", 0.3, Effect.NUMBERS), (DPO, "dpo.loss_type", "ipo", Effect.NUMBERS),
    (DPO, "dpo.precompute_ref_log_probs", False, Effect.ROUNDING),
    (LORA, "sft.isolate_records", True, Effect.NUMBERS), (LORA, "sft.token_weighted_loss", True, Effect.NUMBERS),
    (LORA, "peft.lora_rank", 8, Effect.REFUSED), (LORA, "peft.target_modules", ["o_proj"], Effect.REFUSED),
    (LORA, "peft.lora_bias", "all", Effect.REFUSED), (LORA, "peft.lora_alpha", 8, Effect.NUMBERS),
    (LORA, "peft.merge_lora", True, Effect.FILE), (LORA, "peft.load_lora_from_ckpt", True, Effect.START),
    (LORA, "peft", None, Effect.REFUSED),
])  # fmt: skip
def test_the_effect_of_an_edit(base: str, key: str, value: Any, effect: Effect) -> None:
    path = f"{STRATEGY}.{key}"
    assert changed(base, {path: value})[path].effect is effect


@pytest.mark.parametrize(("base", "more", "effect", "note"), [
    (DPO, {}, Effect.START, "the reference of dpo stays that of the first start"),
    (DPO, {f"{STRATEGY}.dpo.precompute_ref_log_probs": False}, Effect.NUMBERS, "the reference of dpo is loaded from"),
    (LORA, {}, Effect.START, "the base of the adapters stays the checkpoint's"),
    ("hf_llama3_8B_SFT_config", {}, Effect.START, ""),
])  # fmt: skip
def test_other_start_weights_have_the_effect_that_the_run_gives_them(
    base: str, more: dict[str, Any], effect: Effect, note: str
) -> None:
    key = "exp_manager.resume_from_checkpoint"
    difference = changed(base, {key: "/other/weights", **more})[key]
    assert difference.effect is effect
    assert difference.note.startswith(note)
    assert bool(difference.note) is bool(note)


# ---- data.packing ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("strategy", "is_sft", "packs"), [
    ({"sft": {}}, None, True), ({"peft": {}}, None, True), ({"sft": None, "peft": {}}, None, True), (None, True, True),
    ({"sft": None}, True, True), ({"dpo": PAIRS, "sft": None}, True, False), ({"orpo": PAIRS}, None, False),
    (None, None, False),
])  # fmt: skip
def test_packing_under_data_is_that_of_sft_and_makes_no_sft_of_pairs(
    strategy: dict[str, Any] | None, is_sft: bool | None, packs: bool
) -> None:
    others = {"data.packing": True, "data.use_sft_style_data_module": is_sft}
    result = load_text(text_with(DPO, {STRATEGY: None}, {STRATEGY: strategy}, others))
    assert result.config is not None
    assert alignment.packs(result.config) is packs
    assert "NTJ-2901" not in [finding.code for finding in result.findings]
