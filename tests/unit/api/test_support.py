"""Nothing that is set is silently ignored: what this release does not do is refused by name."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from neuron_api.config import ModelConfig, TrainingConfig
from neuron_api.config.markers import OnlyValues, SupportMarker
from neuron_api.findings.finding import errors_of
from neuron_api.loading.loader import load_text
from neuron_api.schema import support
from neuron_api.schema.aliases import CANONICAL
from neuron_api.schema.key_path import all_paths, choices, field_of, fields, section_of
from neuron_api.schema.support import SupportLevel

CONFIGS = Path(__file__).parents[2] / "data" / "configs"
LLAMA = (CONFIGS / "hf_llama3_8B_config.yaml").read_text()
SECTIONS = {path for path, info in all_paths() if section_of(info) is not None}


def config(*changes: str) -> TrainingConfig:
    loaded = load_text(LLAMA, changes)
    assert loaded.config is not None, loaded.findings
    return loaded.config


@pytest.mark.parametrize("name", ["hf_llama3_8B_config", "hf_llama3_8B_trn2_config"])
def test_published_llama_configurations_are_done(name: str) -> None:
    loaded = load_text((CONFIGS / f"{name}.yaml").read_text())
    assert loaded.config is not None
    assert support.check(loaded.config) == ()


ALIGNED = ["hf_llama3_8B_SFT_config", "hf_llama3_8B_SFT_lora_config", "hf_llama3_8B_DPO_config"]
WITHOUT_ERRORS = [*ALIGNED, *sorted(path.stem for path in CONFIGS.glob("megatron_*.yaml"))]


@pytest.mark.parametrize("name", WITHOUT_ERRORS)
def test_published_megatron_and_fine_tuning_configurations_are_done(name: str) -> None:
    loaded = load_text((CONFIGS / f"{name}.yaml").read_text())
    assert loaded.config is not None
    assert errors_of(support.check(loaded.config)) == ()


@pytest.mark.parametrize(
    "key",
    [key for key in fields(ModelConfig) if support.level_of(f"model.{key}") is SupportLevel.MEGATRON_ONLY],
)
def test_a_key_of_megatron_models_is_not_ignored_with_another(key: str) -> None:
    changed = with_value(config(), ["model", key], "something else")
    assert f"model.{key}" in {finding.key for finding in support.check(changed)}


@pytest.mark.parametrize(
    ("change", "key", "code"),
    [
        ("model.optim.sched.name=CyclicLR", "model.optim.sched.name", "NTJ-4001"),
        ("+model.optim.sched.cycle=true", "model.optim.sched.cycle", "NTJ-4001"),
        ("+exp_manager.ema={enable: true}", "exp_manager.ema", "NTJ-4001"),
        ("+trainer.profiler=xla", "trainer.profiler", "NTJ-4001"),
        ("+data.tokenizer.type=/tokenizer", "data.tokenizer", "NTJ-4002"),
        ("+trainer.enable_progress_bar=false", "trainer.enable_progress_bar", "NTJ-4003"),
    ],
)  # fmt: skip
def test_what_is_not_done_is_told(change: str, key: str, code: str) -> None:
    told = {finding.key: finding for finding in support.check(config(*change.split("|")))}
    assert told[key].code == code
    assert (told[key] in errors_of(told.values())) == (code != "NTJ-4003")


def test_a_value_that_is_wrong_anyway_is_told_once() -> None:
    loaded = load_text(LLAMA, ["+trainer.accelerator=gpu"])
    assert loaded.config is not None
    assert [f.code for f in loaded.errors] == ["NTJ-2101"]
    assert support.check(loaded.config, loaded.findings) == ()
    assert [f.key for f in support.check(loaded.config)] == ["trainer.accelerator"]


def sections(model: BaseModel, path: str = "") -> list[tuple[str, BaseModel]]:
    """Every section of a configuration that is there."""
    below = [(f"{path}.{key}" if path else key, getattr(model, name)) for name, info in type(model).model_fields.items()
             for key in [info.alias or name]]  # fmt: skip
    return [
        (path, model),
        *(one for where, value in below if isinstance(value, BaseModel) for one in sections(value, where)),
    ]


def with_value(model: Any, path: list[str], value: object) -> Any:
    """A copy with one value that no validation would let in."""
    head, *rest = path
    name = next(name for name, info in type(model).model_fields.items() if (info.alias or name) == head)
    return model.model_copy(update={name: with_value(getattr(model, name), rest, value) if rest else value})


def test_every_key_that_is_not_done_is_told_when_it_is_set() -> None:
    base, silent = config(), []
    for path, section in sections(base):
        for key in fields(type(section)):
            where = f"{path}.{key}" if path else key
            if support.level_of(where) is SupportLevel.SUPPORTED or where in SECTIONS or where in CANONICAL:
                continue
            changed = with_value(base, where.split("."), "something else")
            if where not in {finding.key for finding in support.check(changed)}:
                silent.append(where)
    assert silent == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("+exp_manager.exp_log_dir=/fsx/run", []),
        ("+model.fusions.do_layer_norm_weight_decay=true", []),
        ("+exp_manager.max_time_per_run=00:12:00:00", []),
    ],
)
def test_another_spelling_is_as_good_as_the_key_that_it_stands_for(change: str, told: list[str]) -> None:
    without = "~model.do_layer_norm_weight_decay", "~exp_manager.explicit_log_dir"
    assert [finding.key for finding in support.check(config(*without, change))] == told


def test_the_extent_of_a_key_is_what_the_check_says_of_it() -> None:
    base = config()
    for path, section in sections(base):
        for key, info in fields(type(section)).items():
            where = f"{path}.{key}" if path else key
            part, there = section_of(info), where in dict(sections(base))
            if where in CANONICAL or there:
                continue
            value = part() if part else "something else"
            told = {f.key: f.code for f in support.check(with_value(base, where.split("."), value))}
            expected = {
                SupportLevel.SUPPORTED: None,
                SupportLevel.IGNORED: "NTJ-4003",
            }
            if part and support.level_of(where) is SupportLevel.MEGATRON_ONLY:
                assert told.get(where) == "NTJ-4002", where
                continue
            assert told.get(where) == expected.get(support.level_of(where), "NTJ-4001"), where


def test_a_key_has_at_most_one_support_marker_and_the_values_of_one_are_legal() -> None:
    for path, info in all_paths():
        markers = [item for item in info.metadata if isinstance(item, SupportMarker)]
        assert len(markers) <= 1, path
        if markers and isinstance(markers[0], OnlyValues) and (legal := choices(info)):
            assert set(markers[0].values) - {None} <= set(legal), path


def test_an_alias_has_no_marker_of_its_own() -> None:
    for alias in CANONICAL:
        info = field_of(alias)
        assert info is not None
        assert not [item for item in info.metadata if isinstance(item, SupportMarker)], alias


@pytest.mark.parametrize(
    "change",
    [
        "+data.data_prefix=/data/text", "+data.index_mapping_dir=/data/indexes", "+data.splits_string='98,2'",
        "+data.skip_warmup=false", "+data.dataloader_type=cyclic", "+data.eod_mask_loss=true",
        "+data.no_seqlen_plus_one_input_tokens=true", "+data.tokenizer.type=/tokenizer",
        "+data.reset_position_ids=true", "+data.reset_attention_mask=true",
    ],
)  # fmt: skip
def test_keys_of_megatron_data_are_done_with_it_and_told_without(change: str) -> None:
    key = change.partition("=")[0].lstrip("+")
    hf, megatron = config(change), config(change).model_copy(update={"model_source": "megatron"})
    assert any(key.startswith(finding.key) for finding in support.check(hf))
    assert not any(key.startswith(finding.key) for finding in support.check(megatron) if finding.key)
