"""Which family a configuration gives, with which sizes; what is wrong with it is a sentence."""

import json
from pathlib import Path
from typing import Any

import pytest

from distributed.tiny import MODEL, config
from neuron_trainer.errors import InputError
from neuron_trainer.models.blocks.rotary import RopeScaling
from neuron_trainer.models.family import Family
from neuron_trainer.preflight import preflight

from .conftest import alone, typed

MISTRAL = {**MODEL, "model_type": "mistral"}


def family(tmp_path: Path, values: dict[str, Any], **changes: Any) -> Family:
    """As a run reads it."""
    (tmp_path / "model.json").write_text(json.dumps(values))
    return Family.from_config(typed(config(tmp_path, tmp_path, **changes)))


@pytest.mark.parametrize(
    ("values", "name", "kind"),
    [
        ({"model_type": "mistral"}, "llama", "mistral"),
        ({"model_type": None, "architectures": ["MistralForCausalLM"]}, "llama", "mistral"),
        ({"model_type": None}, "my-mistral-run", "mistral"),
        ({"model_type": "mixtral"}, "foo", "mixtral"),
        ({"model_type": "llama"}, "mixtral-8x7b", "llama"),
        ({"model_type": None}, "tiny", "llama"),
    ],
)
def test_config_json_decides_and_the_name_only_where_it_is_silent(
    values: dict[str, Any], name: str, kind: str, tmp_path: Path
) -> None:
    assert family(tmp_path, {**MODEL, **values}, name=name).kind == kind


def test_a_name_that_says_something_else_is_told(tiny: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    preflight.check(typed(alone(tiny, tmp_path, name="mixtral-8x7b")), 1, tmp_path)
    assert [record.message for record in caplog.records] == [
        "name: 'mixtral-8x7b' does not decide: the model is a llama, as its config.json says."
    ]


def test_a_family_that_there_is_not_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="model_type 'gpt_neox' is not supported by this release"):
        family(tmp_path, {**MODEL, "model_type": "gpt_neox"})


def test_experts_for_a_model_without_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model.moe: a llama has no experts. Remove the section."):
        family(tmp_path, MODEL, model__moe={"num_experts": 4})


def test_sizes_that_cannot_be_split_are_told_for_each_family(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text(json.dumps({**MODEL, "model_type": "mixtral", "intermediate_size": 66}))
    values = alone(tiny, tmp_path, model__model_config=str(tmp_path / "model.json"))
    values["trainer"]["devices"] = values["distributed_strategy"]["tensor_model_parallel_size"] = 4
    with pytest.raises(InputError) as caught:
        preflight.check(typed(values), 4, tmp_path)
    assert [finding.message for finding in caught.value.findings] == [
        "an MLP of width 66 cannot be divided over 4 processes."
    ]


def test_the_overrides_of_the_model_section_win(tmp_path: Path) -> None:
    changes = {"num_layers": 5, "hidden_size": 64, "rope_theta": 5e5, "max_position_embeddings": 99}
    for values in (MODEL, MISTRAL):
        found: Any = family(tmp_path, values, **{f"model__{key}": value for key, value in changes.items()}).config
        assert (found.num_hidden_layers, found.hidden_size, found.head_dim) == (5, 64, 16)
        assert (found.rope_theta, found.max_position_embeddings, found.intermediate_size) == (5e5, 99, 64)


def test_a_mistral_that_is_silent_has_the_defaults_of_transformers(tmp_path: Path) -> None:
    silent = {name: value for name, value in MISTRAL.items() if name != "max_position_embeddings"}
    found: Any = family(tmp_path, silent).config
    assert (found.sliding_window, found.max_position_embeddings) == (4096, 131072)
    assert family(tmp_path, {**MISTRAL, "sliding_window": None}).config != found


def test_an_override_of_the_length_does_not_move_the_length_that_is_stretched(tmp_path: Path) -> None:
    values = {**MODEL, "rope_scaling": {"type": "dynamic", "factor": 2.0}}
    found: Any = family(tmp_path, values, model__max_position_embeddings=128).config
    assert found.rope_scaling == RopeScaling("dynamic", 2.0, MODEL["max_position_embeddings"])  # type: ignore[arg-type]
    assert found.max_sequence is None
