"""The catalog of published models: its sizes give the published numbers of parameters, and its names are looked up."""

import pytest

from neuron_api.config import ModelConfig
from neuron_api.derive import architecture, parameters
from neuron_api.derive.config_json import MODEL_TYPES, ConfigJson
from neuron_api.published_models import catalog
from neuron_api.published_models.catalog import PublishedModel

PUBLISHED = {
    "meta-llama/Llama-2-7b-hf": 6_738_415_616,
    "meta-llama/Llama-2-13b-hf": 13_015_864_320,
    "meta-llama/Llama-2-70b-hf": 68_976_648_192,
    "meta-llama/Meta-Llama-3-8B": 8_030_261_248,
    "meta-llama/Meta-Llama-3-70B": 70_553_706_496,
    "meta-llama/Llama-3.1-8B": 8_030_261_248,
    "meta-llama/Llama-3.1-70B": 70_553_706_496,
    "meta-llama/Llama-3.1-405B": 405_853_388_800,
    "meta-llama/Llama-3.2-1B": 1_235_814_400,
    "meta-llama/Llama-3.2-3B": 3_212_749_824,
    "meta-llama/Llama-3.3-70B-Instruct": 70_553_706_496,
    "mistralai/Mistral-7B-v0.1": 7_241_732_096,
    "mistralai/Mistral-7B-Instruct-v0.2": 7_241_732_096,
    "mistralai/Mistral-7B-v0.3": 7_248_023_552,
    "mistralai/Mixtral-8x7B-v0.1": 46_702_792_704,
    "mistralai/Mixtral-8x22B-v0.1": 140_620_634_112,
    "mistralai/Mixtral-8x22B-Instruct-v0.1": 140_630_071_296,
}
"""Elements that the safetensors index of each repository counts (less the rotary tables that Llama 2's stores)."""


def by_first_name(model: PublishedModel) -> str:
    return model.names[0]


@pytest.mark.parametrize("model", catalog.models(), ids=by_first_name)
def test_the_sizes_give_the_published_number_of_parameters(model: PublishedModel) -> None:
    section = ModelConfig.model_validate({"encoder_seq_length": 1, "optim": {"name": "adamw", "lr": 1e-4}})
    sizes, findings = architecture.from_json(model.config, section)
    assert (sizes is not None, findings) == (True, ())
    assert sizes is not None
    assert parameters.total(sizes) == model.parameters == PUBLISHED[model.names[0]]


@pytest.mark.parametrize("model", catalog.models(), ids=by_first_name)
def test_an_entry_is_a_config_json_of_a_family_that_is_trained_and_names_its_source(model: PublishedModel) -> None:
    ConfigJson.model_validate(dict(model.config))
    assert model.config["model_type"] in MODEL_TYPES
    assert set(model.config) <= {*ConfigJson.model_fields}
    assert model.source


def test_every_model_has_names_of_its_own_and_all_of_them_have_the_form_of_names() -> None:
    names = [name.lower() for name in catalog.names()]
    assert len(set(names)) == len(names)
    assert all(catalog.is_name(name) for name in names)
    assert {model.names[0] for model in catalog.models()} == set(PUBLISHED)


@pytest.mark.parametrize("path", ["/a/b", "./a/b", "~/a", "a/b/c", "config.json", "models/config.json", "", "a/"])
def test_a_path_is_no_name(path: str) -> None:
    assert not (path and catalog.is_name(path))
    assert catalog.find(path) is None


def test_a_name_is_found_in_any_case_and_a_misspelled_one_is_answered_with_the_nearest() -> None:
    found = catalog.find("meta-llama/llama-3.1-8b-instruct")
    assert found is not None
    assert found.names[0] == "meta-llama/Llama-3.1-8B"
    assert catalog.suggestion("meta-lama/Llama-3.1-8B") == "meta-llama/Llama-3.1-8B"
    assert catalog.suggestion("someone/Mistral-7B-v0.3") == "mistralai/Mistral-7B-v0.3"
    assert catalog.suggestion("someone/gpt-9") is None
