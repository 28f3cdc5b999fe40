"""A config.json that cannot be a model is refused with its key, type and range, all faults at once.

The kind: a file that a person wrote or edited. Looked at: every key that is read, generated from the keys' own table,
with twenty kinds of value, for all three families; what is no object, no JSON or no text; sizes that no model has.
"""

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from distributed.tiny import MODEL
from neuron_api.config import ModelConfig
from neuron_api.derive.config_json import ConfigJson, Rope
from neuron_api.published_models import catalog
from neuron_trainer.errors import InputError
from neuron_trainer.models import config_json
from neuron_trainer.models.family import Family
from neuron_trainer.preflight import preflight

from .conftest import alone, typed

FAMILIES = ("llama", "mistral", "mixtral")
VALUES: tuple[Any, ...] = (
    "32", "", True, None, [], [32], {}, {"a": 1}, -1, 0, 1.5, 2**70, math.inf, math.nan, 10**30 * 1.0, 1, 2, 3, 64,
)  # fmt: skip


def built(values: Any) -> str:
    """The findings; empty where the model can be described, sizes and all."""
    try:
        family = Family.without_run(values)
        assert family.parameters > 0
    except InputError as problem:
        return str(problem)
    return ""


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("key", [*ConfigJson.model_fields, *(f"rope_scaling.{name}" for name in Rope.model_fields)])
def test_any_value_of_any_key_is_a_model_or_a_finding_about_it(family: str, key: str) -> None:
    refused = 0
    for value in VALUES:
        values: dict[str, Any] = {**MODEL, "model_type": family}
        outer, _, inner = key.partition(".")
        rope = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8}  # fmt: skip
        values[outer] = {**rope, inner: value} if inner else value
        if found := built(values):
            refused += 1
            assert found.startswith("model.model_config: ") or found.startswith("model.hidden_size: "), found
    assert refused >= 5, f"{key} takes {len(VALUES) - refused} of {len(VALUES)} values"


@pytest.mark.parametrize(("changes", "sentence"), [
    ({"hidden_size": "32"}, 'hidden_size is "32"; expected: a valid integer.'),
    ({"num_hidden_layers": 0}, "num_hidden_layers is 0; expected: greater than or equal to 1."),
    ({"vocab_size": 1}, "vocab_size is 1; expected: greater than or equal to 2."),
    ({"vocab_size": 0}, "vocab_size is 0; expected: greater than or equal to 2."),
    ({"hidden_size": None}, "hidden_size is null; expected: a valid integer."),
    ({"num_key_value_heads": 3}, "num_attention_heads 4 is not a multiple of num_key_value_heads 3."),
    ({"hidden_size": 36}, "heads of 9 features cannot be rotated in pairs."),
    ({"hidden_size": 30}, "hidden_size 30 is not a multiple of num_attention_heads 4."),
    ({"tie_word_embeddings": "false"}, 'tie_word_embeddings is "false"; expected: a valid boolean.'),
    ({"rope_scaling": {"type": "linear"}}, "rope_scaling has no factor, which its type needs."),
    ({"rope_scaling": {"type": "linear", "factor": 0}}, "rope_scaling.factor is 0; expected: greater than 0."),
    ({"rope_scaling": "linear"}, 'rope_scaling is "linear"; expected: '),
    ({"rope_scaling": {"type": "yarn", "factor": 2}}, "rope_scaling of type 'yarn' is not supported by this release."),
    ({"model_type": "gpt2"}, "model_type 'gpt2' is not supported by this release. Use llama, mistral, mixtral."),
    ({"num_hidden_layers": 2**40}, "num_hidden_layers is 1099511627776; expected: less than or equal to 1024."),
    ({"model_type": "mixtral", "num_experts_per_tok": 9}, "num_experts_per_tok 9 is more than num_local_experts 8."),
])  # fmt: skip
def test_the_sentence_says_key_value_and_what_is_expected(changes: dict[str, Any], sentence: str) -> None:
    assert sentence in built({**MODEL, **changes})


def test_all_keys_are_told_at_once() -> None:
    found = built({"hidden_size": "32", "vocab_size": None, "model_type": "llama"})
    assert len(found.splitlines()) == 5
    assert "config.json: num_attention_heads is missing." in found


@pytest.mark.parametrize(("content", "sentence"), [
    (b"[]", "is a list, not an object with keys."), (b"null", "is a NoneType, not an object"), (b"", "is not JSON"),
    (b"{", "is not JSON: Expecting property name"), (b'{"hidden_size": 32,\n"x": "n\xe9e"}', "line 2 of "),
    (b'{"a":' * 100_000, "nested too deeply"), (b"\x00\x01", "is not JSON"),
    (b"{" + b" " * 1_000_001, "more than 1000000"),
    (b'{"hidden_size": ' + b"9" * 5000 + b"}", "is not JSON: Exceeds the limit"),
])  # fmt: skip
def test_a_file_that_is_no_object_is_refused(content: bytes, sentence: str, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(content)
    for path in (tmp_path, tmp_path / "config.json"):
        with pytest.raises(InputError) as raised:
            preflight.check(typed(alone(tiny, tmp_path / "log", model__model_config=str(path))), 1, tmp_path / "log")
        assert sentence in str(raised.value)
        assert str(tmp_path / "config.json") in str(raised.value)


def test_a_pipe_is_not_waited_for_and_a_mark_is_read(tiny: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    model = typed(alone(tiny, tmp_path / "log", model__model_config=str(tmp_path / "pipe.json"))).model
    with pytest.raises(InputError, match="is not a regular file"):
        config_json.read(model)
    (tmp_path / "config.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(MODEL).encode())
    model = typed(alone(tiny, tmp_path / "log", model__model_config=str(tmp_path))).model
    assert config_json.read(model) == MODEL


# ---- published models ---------------------------------------------------------------------------------------------


def section(path: str) -> ModelConfig:
    return ModelConfig.model_validate(
        {"model_config": path, "encoder_seq_length": 1, "optim": {"name": "adamw", "lr": 1e-4}}
    )


@pytest.mark.parametrize("model", catalog.models(), ids=lambda model: model.names[0])
def test_a_published_name_is_read_as_its_config_json_and_is_a_model_that_is_trained(
    model: catalog.PublishedModel,
) -> None:
    values = config_json.read(section(model.names[-1]))
    assert values == dict(model.config)
    assert Family.without_run(values).parameters == model.parameters


def test_a_directory_of_the_same_name_wins_over_a_published_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "meta-llama" / "Llama-3.2-1B"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(MODEL))
    monkeypatch.chdir(tmp_path)
    assert config_json.read(section("meta-llama/Llama-3.2-1B")) == MODEL


def test_a_misspelled_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"Did you mean meta-llama/Llama-3\.2-1B\?"):
        config_json.read(section("meta-lama/Llama-3.2-1B"))
