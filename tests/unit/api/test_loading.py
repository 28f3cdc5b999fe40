"""A configuration is understood, or refused with a sentence that names key, line and remedy."""

from pathlib import Path
from typing import Any

import pytest

from neuron_api.findings.finding import Severity
from neuron_api.loading import yaml_text
from neuron_api.loading.loader import Loaded, load_object, load_text

CONFIGS = Path(__file__).parents[2] / "data" / "configs"
LLAMA = (CONFIGS / "hf_llama3_8B_config.yaml").read_text()


def sentences(loaded: Loaded) -> str:
    return "\n".join(str(finding) for finding in loaded.findings)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_real_configurations_load_without_errors(path: Path) -> None:
    loaded = load_text(path.read_text())
    assert loaded.config is not None
    assert loaded.errors == ()


def test_text_and_object_give_the_same_hash() -> None:
    from neuron_api.loading.yaml_text import parse

    assert load_text(LLAMA).hash == load_object(parse(LLAMA).value).hash != ""


def test_interpolations_follow_overrides() -> None:
    loaded = load_text(LLAMA, ["trainer.max_steps=7", "distributed_strategy.tensor_model_parallel_size=16"])
    assert loaded.config is not None
    assert loaded.config.model.optim.sched.max_steps == 7
    assert loaded.config.exp_manager.checkpoint_callback_params.model_parallel_size == 16


def test_keys_can_be_added_and_deleted_by_overrides() -> None:
    loaded = load_text(LLAMA, ["~compiler_flags", "+data.num_workers=2"])
    assert loaded.config is not None
    assert loaded.config.compiler_flags == ""
    assert loaded.config.data.num_workers == 2


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("zero1:", "zero11:", ["distributed_strategy.zero11 (line 50)", "Did you mean zero1?"]),
        ("micro_batch_size:", "micro_batchsize:", ["data.micro_batchsize (line 55)", "Did you mean micro_batch_size?"]),
        ("seed: 1234", "seed: 0", ["seed (line 3): must be 1 or more, got 0."]),
        ("seed: 1234", "", ["seed: the key is required and missing. Add it."]),
        ("max_steps: 10000", "max_steps: many", ["trainer.max_steps (line 9)", "must be an integer, got 'many'"]),
        ("devices: 32", "devices: 31", ["cannot be divided into groups of 32", "trainer.devices 31"]),
        ("global_batch_size: 1024", "global_batch_size: 1023", ["data.global_batch_size (line 56)", "1020 or 1024"]),
        ("${trainer.max_steps}", "${trainer.steps}", ["model.optim.sched.max_steps (line 97)", "trainer.steps"]),
        ("  type: 'mixed_precision'", "  type: fp16", ["precision.type (line 100)", "'fp16'", "mixed_precision"]),
    ],
)
def test_a_fault_is_named_with_key_line_and_remedy(old: str, new: str, expected: list[str]) -> None:
    assert old in LLAMA
    loaded = load_text(LLAMA.replace(old, new, 1))
    assert loaded.errors
    for part in expected:
        assert part in sentences(loaded)


def test_all_faults_are_told_at_once() -> None:
    text = LLAMA.replace("zero1:", "zero11:").replace("seed: 1234", "seed: -1").replace("devices: 32", "devices: x")
    keys = {finding.key for finding in load_text(text).errors}
    assert keys >= {"distributed_strategy.zero11", "seed", "trainer.devices"}


def test_a_wrong_value_does_not_hide_the_rules_between_other_keys() -> None:
    text = LLAMA.replace("log_every_n_steps: 10", "log_every_n_steps: often").replace("devices: 32", "devices: 31")
    assert {(f.key, f.code) for f in load_text(text).errors} == {
        ("trainer.log_every_n_steps", "NTJ-1402"),
        ("distributed_strategy.tensor_model_parallel_size", "NTJ-2301"),
    }


def test_a_wrong_value_is_told_once_and_not_by_rules_that_read_it() -> None:
    text = LLAMA.replace("global_batch_size: 1024", "global_batch_size: many").replace("devices: 32", "devices: 32.5")
    assert {(f.key, f.code) for f in load_text(text).errors} == {
        ("data.global_batch_size", "NTJ-1402"),
        ("trainer.devices", "NTJ-1402"),
    }


def test_a_key_that_is_written_out_with_its_default_changes_no_hash() -> None:
    """So that a newer operator, which knows more keys, does not take a running job for a changed one."""
    assert load_text(LLAMA, ["+trainer.min_steps=null", "+data.packing=null", "+exp_manager.save_bf16=false"]).hash == (
        load_text(LLAMA).hash
    )
    assert load_text(LLAMA, ["+exp_manager.save_bf16=true"]).hash != load_text(LLAMA).hash


def test_a_run_that_epochs_end_may_have_the_schedule_of_its_steps() -> None:
    loaded = load_text(LLAMA, ["trainer.max_steps=-1", "trainer.max_epochs=2"])
    assert loaded.errors == ()
    assert loaded.config is not None
    assert loaded.config.model.optim.sched.max_steps is None


def test_a_key_of_ones_own_in_data_is_kept_with_a_warning() -> None:
    loaded = load_text(LLAMA.replace("  micro_batch_size: 1", "  shard_cache: /tmp/x\n  micro_batch_size: 1"))
    assert loaded.errors == ()
    assert [f.key for f in loaded.findings if f.severity is Severity.WARNING] == ["data.shard_cache"]
    assert loaded.config is not None
    assert (loaded.config.data.model_extra or {})["shard_cache"] == "/tmp/x"


def test_the_environment_is_read_in_the_pod_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAIN_SET", "/data/x")
    text = LLAMA.replace("/home/ubuntu/examples_datasets/wikicorpus_llama3_tokenized_8k", "${oc.env:TRAIN_SET}")
    inside = load_text(text, in_pod=True)
    assert inside.config is not None
    assert inside.config.data.train_dir == "/data/x"
    assert "resolved in the pod" in sentences(load_text(text))


def test_a_document_that_is_not_a_configuration_names_its_source() -> None:
    for text in ("", "- a", "a: [", "just words"):
        loaded = load_text(text, source="job.yaml")
        assert loaded.config is None
        assert sentences(loaded).startswith("job.yaml")


def test_a_value_that_needs_one_that_cannot_be_resolved_is_told_so_and_not_called_missing() -> None:
    text = LLAMA.replace("seed: 1234", "seed: ${data.own}").replace("data:\n", "data:\n  own: ${nothing}\n")
    told = {finding.key: finding for finding in load_text(text).errors}
    assert {key: finding.code for key, finding in told.items()} == {"data.own": "NTJ-1101", "seed": "NTJ-1104"}
    assert "it needs data.own" in told["seed"].message


@pytest.mark.parametrize(
    ("source", "missing"),
    [
        ("hf", {"model.model_config": "NTJ-2501"}),
        (
            "megatron",
            {
                f"model.{key}": "NTJ-2502"
                for key in ("num_layers", "hidden_size", "ffn_hidden_size", "num_attention_heads")
            },
        ),
    ],
)
def test_what_the_source_of_the_model_requires_is_reported_with_all_other_keys_that_are_missing(
    source: str, missing: dict[str, str]
) -> None:
    """Found by a new user: it came only once nothing else was missing."""
    loaded = load_text(f"name: x\nmodel_source: {source}\ntrainer: {{devices: 2}}\nmodel: {{}}\n")
    codes = {finding.key: finding.code for finding in loaded.errors}
    assert codes.items() >= missing.items()
    assert codes["trainer.max_steps"] == "NTJ-1401"


def test_a_number_that_cannot_be_read_is_not_also_missing() -> None:
    text = LLAMA.replace("seed: 1234", "seed: .nan")
    assert [(finding.key, finding.code) for finding in load_text(text).errors] == [("seed", "NTJ-1005")]
    given = {**yaml_text.parse(LLAMA).value, "seed": float("nan")}
    assert [(finding.key, finding.code) for finding in load_object(given).errors] == [("seed", "NTJ-1005")]


def test_a_name_is_shown_without_commands_for_the_terminal() -> None:
    found = load_text(LLAMA + '\n"\\e[31m\\u202ex": 1\n').errors
    assert [finding.key for finding in found] == ["\\x1b[31m\\u202ex"]
    assert all(str(finding).isprintable() for finding in found)


def test_many_findings_of_one_kind_are_counted() -> None:
    found = load_text(LLAMA + "\n" + "".join(f"other_{i}: 1\n" for i in range(300))).errors
    assert len(found) == 50
    assert "And 250 more of NTJ-1302" in found[-1].message


@pytest.mark.parametrize("given", [[], "text with ${a}", 1, None])
def test_an_object_that_is_no_mapping_is_refused(given: Any) -> None:
    assert [finding.code for finding in load_object(given).findings] == ["NTJ-1001"]


def test_half_of_a_pair_is_no_character() -> None:
    given = {**yaml_text.parse(LLAMA).value, "name": "\ud800"}
    assert [(finding.key, finding.code) for finding in load_object(given).errors] == [("name", "NTJ-1402")]


def test_what_cannot_be_decoded_is_an_error_not_null() -> None:
    (found,) = load_text(LLAMA.replace("seed: 1234", "seed: ${oc.decode:'[1'}")).errors
    assert (found.key, found.code) == ("seed", "NTJ-1104")
    assert "'[1' is not one value" in found.message


@pytest.mark.parametrize("change", ["~{}", "{}=null"])
def test_an_interpolation_of_a_key_with_a_default_gives_the_default(change: str) -> None:
    loaded = load_text(LLAMA, [change.format("distributed_strategy.pipeline_model_parallel_size")])
    assert loaded.config is not None
    assert loaded.errors == ()
    assert loaded.config.exp_manager.checkpoint_callback_params.model_parallel_size == 32


@pytest.mark.parametrize("own", ["1.0", "{a: [1.0, 2.5], b: -0.0}"])
def test_an_own_value_has_the_same_hash_as_the_api_server_stores_it(own: str) -> None:
    wanted = load_text(LLAMA, [f"+data.own={own}", f"+model.own={own}"])
    stored = own.replace("1.0", "1").replace("-0.0", "0")
    assert load_text(LLAMA, [f"+data.own={stored}", f"+model.own={stored}"]).hash == wanted.hash != ""
    parts = [load_text(LLAMA, [f"trainer.limit_val_batches={part}"]).hash for part in ("1", "1.0")]
    assert parts[0] != parts[1]


@pytest.mark.parametrize("text", ["2.10", "007", "1e3", "7", "'2.10'"])
def test_a_text_that_is_a_number_in_yaml_is_kept_or_refused_but_never_changed(text: str) -> None:
    changed = LLAMA.replace("name: hf_llama", f"name: {text}", 1)
    loaded, expected = load_text(changed), [("name", "NTJ-1402", 1)] if text in ("2.10", "007", "1e3") else []
    assert [(f.key, f.code, f.line) for f in loaded.errors] == expected
    assert loaded.config is not None
    assert expected or loaded.config.name == text.strip("'")
    assert load_text(changed, ["name=x"]).errors == ()


@pytest.mark.parametrize(("change", "betas"), [("betas.1=0.95", (0.9, 0.95)), ("betas={0.8,0.9}", None)])
def test_an_override_changes_an_item_of_a_list(change: str, betas: tuple[float, float] | None) -> None:
    loaded = load_text(LLAMA, [f"model.optim.{change}"])
    assert bool(loaded.errors) is (betas is None)
    assert betas is None or (loaded.config is not None and loaded.config.model.optim.betas == betas)


@pytest.mark.parametrize("name", ["7", "first", "\u00b2", "9" * 5000, "-1"])
def test_an_override_of_no_item_of_a_list_is_refused(name: str) -> None:
    errors = load_text(LLAMA, [f"+model.optim.betas.{name}=0.9"]).errors
    assert [finding.code for finding in errors] == ["NTJ-1201"]


@pytest.mark.parametrize(
    ("key", "code", "proposed"),
    [
        ("data.max_seq_length", "NTJ-1303", "seq_length"),
        ("data.shard_cache", "NTJ-1303", ""),
        ("data.sek_length", "NTJ-1301", "seq_length"),
        ("model.Num_Layers", "NTJ-1301", "num_layers"),
        ("trainer.maximum_steps", "NTJ-1301", "max_steps"),
        ("trainer.data_seed", "NTJ-1302", ""),
    ],
)
def test_one_or_two_letters_are_an_error_and_a_likeness_is_in_closed_sections_only(
    key: str, code: str, proposed: str
) -> None:
    (found,) = (finding for finding in load_text(LLAMA, [f"+{key}=1"]).findings if finding.key == key)
    assert found.code == code
    assert (f"Did you mean {proposed}?" in found.remedy) is bool(proposed)


def test_training_can_end_with_epochs_though_the_schedule_follows_max_steps() -> None:
    loaded = load_text(LLAMA, ["trainer.max_steps=-1", "trainer.max_epochs=3"])
    assert loaded.errors == ()
    assert loaded.config is not None
    assert loaded.config.model.optim.sched.max_steps is None
