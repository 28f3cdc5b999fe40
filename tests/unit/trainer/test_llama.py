"""Our Llama and Mistral are those of `transformers`: the same logits and gradients, and weights that go both ways."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

import exchange
from neuron_trainer.errors import InputError
from neuron_trainer.models.llama import LlamaConfig, LlamaForCausalLM
from neuron_trainer.models.llama import config as llama_config
from neuron_trainer.models.llama.family import init_parameter
from neuron_trainer.models.mistral import family as mistral

SIZES: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "initializer_range": 0.2,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,  # one of the 4 wavelengths, 62.8, is between the limits 16 and 64
}
VARIANTS: dict[str, dict[str, Any]] = {
    "grouped-query attention": {},
    "multi-head attention": {"num_key_value_heads": 4},
    "multi-query attention": {"num_key_value_heads": 1},
    "tied embeddings": {"tie_word_embeddings": True},
    "heads wider than their share": {"head_dim": 16},
    "biases": {"attention_bias": True, "mlp_bias": True},
    "another theta": {"rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}},
    "llama3 frequencies": {"rope_parameters": LLAMA3},
    "linear frequencies": {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}},
    "dynamic frequencies": {
        "rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0},
        "max_position_embeddings": 48,  # shorter than the samples: the base grows with their length
    },
    "a window": {"model_type": "mistral", "sliding_window": 24},
    "a window of one": {"model_type": "mistral", "sliding_window": 1},
    "a window as wide as the sample": {"model_type": "mistral", "sliding_window": 100},
}


@dataclass(frozen=True)
class Pair:
    """The same model twice."""

    theirs: Any
    ours: LlamaForCausalLM
    config: LlamaConfig
    folder: Path
    ids: Tensor


@pytest.fixture(params=VARIANTS)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    torch.manual_seed(1)
    values = {**SIZES, "model_type": "llama", **VARIANTS[request.param]}
    hf_config = transformers.AutoConfig.for_model(**values)
    theirs = transformers.AutoModelForCausalLM.from_config(hf_config).float()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)  # norms that are not 1, biases that are not 0
    theirs.save_pretrained(tmp_path)
    read = mistral if values["model_type"] == "mistral" else llama_config
    config = read.from_values(json.loads((tmp_path / "config.json").read_text()))
    ours = LlamaForCausalLM(config)
    ours.load_state_dict(exchange.read(tmp_path), strict=not config.tie_word_embeddings)
    return Pair(theirs, ours, config, tmp_path, torch.randint(0, 96, (2, 100)))


def test_logits_are_equal(pair: Pair) -> None:
    torch.testing.assert_close(pair.ours(pair.ids), pair.theirs(pair.ids).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_loss_and_gradients_are_equal(pair: Pair) -> None:
    labels = pair.ids.clone()
    labels[:, ::3] = -100
    theirs = pair.theirs(pair.ids, labels=labels).loss
    theirs.backward()
    logits = pair.ours(pair.ids)
    ours = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    ours.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0)
    found = dict(pair.ours.named_parameters())
    wanted = dict(pair.theirs.named_parameters())
    assert found.keys() == wanted.keys()
    for name, parameter in wanted.items():
        torch.testing.assert_close(found[name].grad, parameter.grad, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.slow
def test_weights_go_to_transformers_and_back_without_a_change(pair: Pair, tmp_path: Path) -> None:
    folder = tmp_path / "written"
    exchange.write(folder, pair.ours.state_dict(), pair.folder / "config.json")
    theirs = type(pair.theirs).from_pretrained(folder, dtype=torch.float32)
    for name, tensor in pair.theirs.state_dict().items():
        assert torch.equal(theirs.state_dict()[name], tensor), name
    assert all(torch.equal(pair.ours.get_parameter(name), tensor) for name, tensor in exchange.read(folder).items())


def test_weights_in_several_files_are_read(tmp_path: Path) -> None:
    theirs = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES)).float()
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    found = exchange.read(tmp_path)
    assert found.keys() == theirs.state_dict().keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in theirs.state_dict().items())


def test_initial_weights_are_drawn_from_the_distribution_of_transformers() -> None:
    config = llama_config.from_values({**SIZES, "hidden_size": 512, "initializer_range": 0.02})
    drawn = {
        name: init_parameter(name, parameter.shape, config, seed=3)
        for name, parameter in LlamaForCausalLM(config).named_parameters()
    }
    theirs = transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**SIZES, "hidden_size": 512}))
    for name, parameter in theirs.named_parameters():
        if "norm" in name:
            assert torch.equal(drawn[name], parameter), name
        else:
            assert drawn[name].std().item() == pytest.approx(0.02, rel=0.05), name
            assert abs(drawn[name].mean().item()) < 0.002, name
    flat = [tensor.flatten()[:512] for name, tensor in drawn.items() if "norm" not in name]
    assert len({tuple(part.tolist()) for part in flat}) == len(flat), "every parameter is drawn on its own"


def test_an_initial_weight_depends_on_seed_and_name_alone() -> None:
    config, shape = llama_config.from_values(SIZES), torch.Size((8, 32))
    once = init_parameter("model.layers.0.mlp.up_proj.weight", shape, config, seed=3)
    torch.randn(5)
    assert torch.equal(once, init_parameter("model.layers.0.mlp.up_proj.weight", shape, config, seed=3))
    assert not torch.equal(once, init_parameter("model.layers.0.mlp.up_proj.weight", shape, config, seed=4))
    assert not torch.equal(once, init_parameter("model.layers.1.mlp.up_proj.weight", shape, config, seed=3))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"hidden_act": "gelu"}, "hidden_act 'gelu' is not supported"),
        ({"rope_scaling": {"type": "yarn", "factor": 2.0}}, "rope_scaling of type 'yarn' is not supported"),
        ({"hidden_size": 33}, "hidden_size 33 is not a multiple of num_attention_heads 4"),
        ({"hidden_size": None}, "hidden_size"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "low_freq_factor"),
    ],
)
def test_an_architecture_that_is_not_supported_is_named(change: dict[str, Any], sentence: str) -> None:
    values = {name: value for name, value in {**SIZES, **change}.items() if value is not None}
    with pytest.raises(InputError, match=sentence):
        llama_config.from_values(values)
