"""`kubectl neuron plan` counts parameters without building the model; must be what the model has."""

import json
from pathlib import Path
from typing import Any

import pytest

from distributed.tiny import MODEL
from neuron_api.config import TrainingConfig
from neuron_api.derive import architecture, parameters
from neuron_api.derive.sharding import Sharding
from neuron_trainer.models.family import Family

from .megatron import SHAPES, section
from .test_llama import VARIANTS as LLAMAS

MIXTRAL = {"model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2, "num_hidden_layers": 5}
HF: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    **{f"llama, {name}": (values, {}) for name, values in LLAMAS.items()},
    "mistral": ({"model_type": "mistral", "attention_bias": True}, {}),
    "mixtral": (MIXTRAL, {}),
    "mixtral, every second layer": (MIXTRAL, {"moe": {"frequency": 2, "num_experts": 3}}),
    "mixtral, no gate": (MIXTRAL, {"moe": {"glu_mlp": False, "frequency": 3}}),
}
"""Changes of config.json and of the `model` section."""


def built(family: Family) -> int:
    """Elements of the parameters."""
    return sum(parameter.numel() for parameter in family.on_meta().parameters())


@pytest.mark.parametrize("name", HF)
def test_of_a_config_json(name: str, tmp_path: Path) -> None:
    changes, keys = HF[name]
    values = {**MODEL, **changes}
    (tmp_path / "config.json").write_text(json.dumps(values))
    wanted = section(**keys, model_config=str(tmp_path))
    shape, findings = architecture.from_json(values, wanted.model)
    assert shape is not None, findings
    family = Family.from_config(wanted)
    assert parameters.total(shape) == built(family) == family.parameters


@pytest.mark.parametrize("name", SHAPES)
def test_of_megatron_keys(name: str) -> None:
    wanted: TrainingConfig = section("megatron", **SHAPES[name])
    shape = architecture.from_megatron(wanted, 91)
    assert shape is not None
    assert parameters.total(shape) == built(Family.from_config(wanted, 91))


@pytest.mark.parametrize(
    ("vocabulary", "multiple", "tensor", "rows"),
    [(31999, 4, 1, 32000), (31999, 4, 8, 32000), (32001, 4, 8, 32032), (31999, 1, 3, 32001), (32000, 8, 1, 32000)],
)
def test_the_vocabulary_is_padded_to_a_multiple_of_the_value_times_tp(
    vocabulary: int, multiple: int, tensor: int, rows: int
) -> None:
    wanted = section("megatron", make_vocab_size_divisible_by=multiple, tensor=tensor)
    found: Any = Family.from_config(wanted, vocabulary)
    assert found.config.vocab_size == rows
    shape = architecture.from_megatron(wanted, vocabulary)
    assert shape is not None
    counted = parameters.count(shape, Sharding(tensor=tensor))
    assert counted is not None
    assert counted.embedding * tensor == rows * found.config.hidden_size
