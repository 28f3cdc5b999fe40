"""The document's own snippets: each is accepted, or refused with the sentence that its fault deserves."""

from textwrap import indent

import pytest

import document
from neuron_api.config import TrainingConfig
from neuron_api.derive import hardware
from neuron_api.derive.architecture import from_megatron
from neuron_api.derive.plan import derive
from neuron_api.findings.finding import Finding, Severity
from neuron_api.loading import yaml_text
from neuron_api.loading.loader import Loaded, load_object, load_text
from neuron_api.platform.devices import devices
from neuron_api.resource.accelerator import Accelerator
from neuron_api.schema.key_path import fields

HF, MEGATRON = document.hf_job(), document.megatron_job()
REQUIRED = {"name", "model_source", "seed", "trainer", "data", "model"}
SFT_DATA = "  seq_length: 4096\n  train_dir: /fsx/train.jsonl\n  val_dir: /fsx/val.jsonl\n  tokenizer: {type: /fsx/t}\n"


def codes(loaded: Loaded, *severities: Severity) -> set[tuple[str, str]]:
    """Keys and codes of findings."""
    return {(f.key, f.code) for f in loaded.findings if not severities or f.severity in severities}


def job_of(loaded: Loaded) -> TrainingConfig:
    assert loaded.config is not None
    assert loaded.errors == ()
    return loaded.config


def error_of(text: str) -> Finding:
    """The only error."""
    (found,) = load_text(text).errors
    return found


# ---- whole jobs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [HF, MEGATRON], ids=["hf", "megatron"])
def test_a_whole_job_of_the_document_loads_and_can_be_planned(text: str) -> None:
    loaded = load_text(text)
    config = job_of(loaded)
    assert load_object(yaml_text.parse(text).value).hash == loaded.hash != ""
    plan = derive(config, hardware.from_config(config, Accelerator.NEURON, None), from_megatron(config, 32000))
    columns = plan.columns
    assert (columns["world"], columns["dp"], columns["num_microbatches"]) == (32, 4, 256)
    assert (columns["layers_per_stage"], columns["hardware"]) == (f"{columns['layers']}x1", "trn2")
    assert plan.devices is not None
    assert plan.devices.neuron == 8  # 32 processes with two cores each, eight cores a chip


# ---- 01 top level -------------------------------------------------------------------------------------------------


def test_01_names_every_key_of_the_top_level() -> None:
    named = yaml_text.parse(document.fragment("01-top-level")).value
    others = {"model_alignment_strategy", "async_exec_max_inflight_requests", "fusions"}
    assert set(named) == set(fields(TrainingConfig)) - others
    assert set(named.values()) == {None}


def test_01_without_values_is_refused_with_one_message_for_each_required_key() -> None:
    loaded = load_text(document.fragment("01-top-level"))
    assert loaded.config is None
    assert sorted(f.key for f in loaded.findings) == sorted(REQUIRED)
    assert {f.code for f in loaded.findings} == {"NTJ-1401"}
    assert all(f.line for f in loaded.findings)


# ---- 02 trainer ---------------------------------------------------------------------------------------------------


def test_02_is_accepted_and_needs_a_node_with_32_logical_cores() -> None:
    loaded = load_text(HF)
    config = job_of(loaded)
    assert not {key for key, _ in codes(loaded) if key.startswith("trainer")}
    assert (config.trainer.devices, config.trainer.lnc, config.trainer.max_steps) == (32, 2, 20000)
    assert (config.trainer.check_val_every_n_epoch, config.trainer.gradient_clip_val) == (None, 1.0)
    for instance, told in {
        "trn2.48xlarge": [],
        "trn2u.48xlarge": [],
        "trn2.3xlarge": ["NTJ-3004"],
        "trn1.32xlarge": ["NTJ-3003", "NTJ-3019"],
    }.items():
        wanted, findings = devices(config, instance)
        assert ([f.code for f in findings], wanted is None) == (told, bool(told)), instance


# ---- 03 exp_manager -----------------------------------------------------------------------------------------------


def test_03_is_accepted() -> None:
    loaded = load_text(HF)
    manager = job_of(loaded).exp_manager
    assert not {key for key, _ in codes(loaded) if key.startswith("exp_manager")}
    assert manager.checkpoint_callback_params.model_parallel_size is None
    assert manager.ckpt_ptl_version == "2.5.0"
    assert manager.checkpoint_callback_params.filename == "megatron_llama--{step}-{consumed_samples}"


# ---- 04 distributed_strategy --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("is_linear", "told"), [(False, {"NTJ-2316"}), (True, set())])
def test_04_replicates_with_qkv_linear_and_warns_without(is_linear: bool, told: set[str]) -> None:
    loaded = load_text(HF, [f"model.qkv_linear={is_linear}"])
    config = job_of(loaded)
    about = {f.code for f in loaded.findings if f.key == "distributed_strategy.kv_replicator"}
    assert about == told
    plan = derive(config, hardware.from_config(config, Accelerator.NEURON, None), from_megatron(config))
    assert plan.columns["kv_replicator"] == 4
    assert plan.columns["kv_rep_effective"] == (4 if is_linear else None)


# ---- 05 data ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [HF, MEGATRON], ids=["hf", "megatron"])
def test_05_is_the_common_part_of_any_data_module(text: str) -> None:
    loaded = load_text(text)
    data = job_of(loaded).data
    assert not {key for key, _ in codes(loaded) if key.startswith("data")}
    assert (data.micro_batch_size, data.global_batch_size) == (1, 1024)


# ---- 06 and 07 model ----------------------------------------------------------------------------------------------


def test_06_resolves_its_relative_interpolation_and_its_short_float() -> None:
    model = job_of(load_text(HF)).model
    assert model.max_position_embeddings == model.encoder_seq_length == 4096
    assert model.optim.lr == 0.0003
    assert model.optim.sched.max_steps == 20000


def test_07_is_refused_with_both_lines_and_the_hint() -> None:
    alone = [f for f in load_text(document.fragment("07-model-megatron")).errors if f.code == "NTJ-1004"]
    assert [(f.key, f.line) for f in alone] == [("optim.name", 43)]
    hint = "in lines 35 and 43; did you mean to indent the lines under sched?"
    assert hint in alone[0].message
    text = MEGATRON.replace(indent(document.repaired(), "  "), indent(document.fragment("07-model-megatron"), "  "))
    assert text != MEGATRON
    (twice,) = (f for f in load_text(text).errors if f.code == "NTJ-1004")
    assert twice.key == "model.optim.name"
    assert "did you mean to indent the lines under sched?" in twice.message


def test_07_repaired_is_accepted() -> None:
    loaded = load_text(MEGATRON)
    model = job_of(loaded).model
    assert not {key for key, _ in codes(loaded) if key.startswith("model")}
    assert (model.optim.name, model.optim.sched.name) == ("adamw", "CosineAnnealing")
    assert (model.optim.sched.warmup_steps, model.optim.sched.min_lr) == (2000, 3e-5)
    assert model.layernorm_epsilon == 1e-5
    # selective without a list: the document's default, [CoreAttention]
    from neuron_api.derive.activations import RecomputeUnit, recomputed_units

    assert recomputed_units(model) == {RecomputeUnit.CORE}


# ---- 08 precision -------------------------------------------------------------------------------------------------


def test_08_is_accepted_without_a_word_about_its_lower_keys() -> None:
    loaded = load_text(HF)
    assert job_of(loaded).precision.type == "mixed_precision"
    assert not {key for key, _ in codes(loaded) if key.startswith("precision")}


def test_08_says_that_a_key_has_no_effect_when_its_value_says_otherwise() -> None:
    loaded = load_text(HF, ["precision.parallel_layers_reduce_dtype=fp32", "precision.xla_use_bf16=1"])
    assert ("precision.xla_use_bf16", "NTJ-2801") in codes(loaded)


# ---- 09 model_alignment_strategy ----------------------------------------------------------------------------------


def aligned(*chosen: str) -> str:
    """A fine-tuning job with these parts of the snippet."""
    parts = yaml_text.parse(document.fragment("09-model-alignment-strategy")).value["model_alignment_strategy"]
    section = {"model_alignment_strategy": {name: parts[name] for name in chosen}}
    job = HF.replace("  train_dir: /fsx/train\n  val_dir: /fsx/val\n", SFT_DATA)
    assert job != HF
    return job + yaml_text.dump(section)


def test_09_as_it_stands_shows_alternatives_and_is_refused() -> None:
    text = aligned("sft").partition("model_alignment_strategy:")[0] + document.fragment("09-model-alignment-strategy")
    found = error_of(text)
    assert (found.key, found.code) == ("model_alignment_strategy", "NTJ-2901")
    assert found.line == text.splitlines().index("model_alignment_strategy:") + 1
    assert "are alternatives" in found.message


@pytest.mark.parametrize("chosen", [["dpo"], ["sft"], ["orpo"], ["sft", "peft"]], ids=" and ".join)
def test_09_each_alternative_alone_and_sft_with_peft_is_accepted(chosen: list[str]) -> None:
    loaded = load_text(aligned(*chosen))
    strategy = job_of(loaded).model_alignment_strategy
    assert strategy is not None
    assert {name for name, section in strategy if section is not None} == set(chosen)
