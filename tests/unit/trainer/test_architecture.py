"""A config.json that is silent about a size means what transformers means; the estimate and the trainer read the same.

The kind: a default of one reader that is not the other's. Found at key/value heads (a Mistral's are 8, the estimate
took as many as query heads) and experts; all three families are held against transformers' own classes.
"""

from typing import Any

import pytest
import transformers

import document
from neuron_api.derive import architecture
from neuron_api.loading.loader import load_text
from neuron_trainer.models.family import Family

pytestmark = pytest.mark.slow

SIZES = {
    "hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 2, "num_attention_heads": 16, "vocab_size": 96,
}  # fmt: skip

every_type = pytest.mark.parametrize("kind", ["llama", "mistral", "mixtral"])


def estimated(values: dict[str, Any]) -> architecture.Architecture:
    loaded = load_text(document.hf_job())
    assert loaded.config is not None
    model = loaded.config.model.model_copy(update={"hidden_size": None, "num_layers": None})
    result, findings = architecture.from_json(values, model)
    assert result is not None, findings
    return result


@every_type
def test_a_silent_config_json_means_what_transformers_means(kind: str) -> None:
    model = estimated({"model_type": kind, **SIZES})
    expected = transformers.AutoConfig.for_model(kind, **SIZES)
    assert model.kv_heads == expected.num_key_value_heads
    if kind == "mixtral":
        assert model.experts is not None
        assert model.experts.count == expected.num_local_experts
        assert model.experts.per_token == expected.num_experts_per_tok


@every_type
def test_the_trainer_builds_the_model_that_is_estimated(kind: str) -> None:
    model = estimated({"model_type": kind, **SIZES})
    built = Family.without_run({"model_type": kind, **SIZES})
    assert built.config.num_key_value_heads == model.kv_heads
