"""Nothing that is set is silently ignored: what this release does not do is refused by name."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from neuron_api import support
from neuron_api.config import TrainingConfig
from neuron_api.findings import errors_of
from neuron_api.loading import load_text
from neuron_api.paths import all_paths, fields, section_of

CONFIGS = Path(__file__).parents[2] / "data" / "configs"
LLAMA = (CONFIGS / "hf_llama3_8B_config.yaml").read_text()
SECTIONS = {path for path, info in all_paths() if section_of(info) is not None}
TABLES = (support._DONE, support._INERT)


def config(*changes: str) -> TrainingConfig:
    loaded = load_text(LLAMA, changes)
    assert loaded.config is not None, loaded.findings
    return loaded.config


@pytest.mark.parametrize("name", ["hf_llama3_8B_config", "hf_llama3_8B_trn2_config"])
def test_published_llama_configurations_are_done(name: str) -> None:
    loaded = load_text((CONFIGS / f"{name}.yaml").read_text())
    assert loaded.config is not None
    assert support.check(loaded.config) == ()


@pytest.mark.parametrize(
    ("change", "key", "code"),
    [
        ("model_source=megatron", "model_source", "NTJ-4001"),
        ("distributed_strategy.context_parallel_size=2", "distributed_strategy.context_parallel_size", "NTJ-4001"),
        ("precision.type=autocast", "precision.type", "NTJ-4001"),
        ("model.optim.sched.name=CyclicLR", "model.optim.sched.name", "NTJ-4001"),
        ("+model.optim.sched.cycle=true", "model.optim.sched.cycle", "NTJ-4001"),
        ("+trainer.limit_train_batches=3", "trainer.limit_train_batches", "NTJ-4001"),
        ("+model_alignment_strategy.sft.packing=true", "model_alignment_strategy", "NTJ-4002"),
        ("+model.moe.num_experts=8", "model.moe", "NTJ-4002"),
        ("+trainer.enable_progress_bar=false", "trainer.enable_progress_bar", "NTJ-4003"),
    ],
)  # fmt: skip
def test_what_is_not_done_is_told(change: str, key: str, code: str) -> None:
    told = {finding.key: finding for finding in support.check(config(change))}
    assert told[key].code == code
    assert (told[key] in errors_of(told.values())) == (code != "NTJ-4003")


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
            known = key in support._DONE.get(path, "").split() and where not in support._VALUES
            if known or where in SECTIONS:
                continue
            changed = with_value(base, where.split("."), "something else")
            if where not in {finding.key for finding in support.check(changed)}:
                silent.append(where)
    assert silent == []


def test_the_tables_name_only_keys_that_there_are() -> None:
    known = {path for path, _ in all_paths()}
    named = {
        f"{path}.{key}" if path else key for table in TABLES for path, keys in table.items() for key in keys.split()
    }
    assert (named | set(support._VALUES)) - known == set()
