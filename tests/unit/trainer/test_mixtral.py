"""Our Mixtral is that of `transformers`: the same logits, loss and gradients, and weights that go both ways."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from torch.nn.functional import cross_entropy

import exchange
from neuron_api.config import ModelConfig
from neuron_api.config.moe import MoeConfig
from neuron_trainer.convert import base
from neuron_trainer.errors import CheckpointError
from neuron_trainer.models.mixtral import MixtralConfig, MixtralForCausalLM
from neuron_trainer.models.mixtral import config as mixtral_config
from neuron_trainer.models.mixtral.family import FAMILY
from neuron_trainer.models.spec import Prediction

from .test_llama import SIZES

pytestmark = pytest.mark.slow

VARIANTS: dict[str, dict[str, Any]] = {
    "two of four experts": {},
    "one of three": {"num_local_experts": 3, "num_experts_per_tok": 1},
    "all of two": {"num_local_experts": 2, "num_experts_per_tok": 2},
    "a window": {"sliding_window": 24},
    "tied embeddings": {"tie_word_embeddings": True},
    "no auxiliary loss": {"output_router_logits": False},
}
BASE = {
    **SIZES, "model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2,
    "output_router_logits": True, "router_aux_loss_coef": 0.3,
}  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """The same model twice."""

    theirs: Any
    ours: MixtralForCausalLM
    config: MixtralConfig
    folder: Path
    ids: Tensor


@pytest.fixture(params=VARIANTS)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    torch.manual_seed(1)
    hf_config = transformers.AutoConfig.for_model(**{**BASE, **VARIANTS[request.param]})
    theirs = transformers.AutoModelForCausalLM.from_config(hf_config).float()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    theirs.save_pretrained(tmp_path)
    config = mixtral_config.from_values(json.loads((tmp_path / "config.json").read_text()))
    ours = MixtralForCausalLM(config)
    ours.load_state_dict(exchange.read(tmp_path), strict=not config.tie_word_embeddings)
    return Pair(theirs, ours, config, tmp_path, torch.randint(0, 96, (2, 100)))


def logits_of(output: Tensor | Prediction) -> Tensor:
    return output.logits if isinstance(output, Prediction) else output


def in_our_form(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Gate and up apart, as we keep them."""
    found = {}
    for name, tensor in theirs.items():
        if name.endswith("experts.gate_up_proj"):
            gate, up = tensor.chunk(2, dim=1)
            found |= {name.replace("gate_up", "gate"): gate, name.replace("gate_up", "up"): up}
        else:
            found[name] = tensor
    return found


def test_logits_are_equal(pair: Pair) -> None:
    torch.testing.assert_close(
        logits_of(pair.ours(pair.ids)), pair.theirs(pair.ids).logits, rtol=1e-5, atol=1e-5
    )  # fmt: skip


def test_loss_and_gradients_are_equal(pair: Pair) -> None:
    theirs = pair.theirs(pair.ids, labels=pair.ids)
    theirs.loss.backward()
    output = pair.ours(pair.ids)
    ours = cross_entropy(logits_of(output)[:, :-1].flatten(0, 1), pair.ids[:, 1:].flatten())
    if isinstance(output, Prediction):
        # theirs is top_k times ours (models/blocks/moe/router.py)
        ours = ours + output.auxiliary * pair.config.moe.top_k
        assert output.auxiliary.item() > 0.3 * 0.9
    assert isinstance(output, Prediction) == pair.theirs.config.output_router_logits
    ours.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(ours, theirs.loss, rtol=1e-5, atol=0)
    found = {name: parameter.grad for name, parameter in pair.ours.named_parameters()}
    wanted = in_our_form({name: parameter.grad for name, parameter in pair.theirs.named_parameters()})
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-6, msg=name)


def test_weights_go_to_transformers_and_back_without_a_change(pair: Pair, tmp_path: Path) -> None:
    folder = tmp_path / "written"
    exchange.write(folder, pair.ours.state_dict(), pair.folder / "config.json")
    theirs = transformers.MixtralForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for name, tensor in pair.theirs.state_dict().items():
        assert torch.equal(theirs.state_dict()[name], tensor), name
    assert all(torch.equal(pair.ours.get_parameter(name), tensor) for name, tensor in exchange.read(folder).items())


def test_initial_weights_are_drawn_from_the_distribution_of_transformers() -> None:
    config = mixtral_config.from_values({**BASE, "hidden_size": 512, "initializer_range": 0.02})
    for name, parameter in MixtralForCausalLM(config).named_parameters():
        drawn = FAMILY.init_parameter(name, parameter.shape, config, 3)
        assert drawn.std().nan_to_num().item() == pytest.approx(0.0 if "norm" in name else 0.02, rel=0.05), name


def overridden(**moe: Any) -> MixtralConfig:
    """Of the `model` section."""
    section: dict[str, Any] = {"encoder_seq_length": 128, "optim": {"name": "adamw", "lr": 1}, "moe": moe}
    return mixtral_config.from_values(BASE, ModelConfig.model_validate(section))


def test_the_section_moe_wins_over_config_json() -> None:
    found = overridden(top_k=3, frequency=2, capacity_factor=1.5, router_aux_loss_coef=0.1, dropout=0.2)
    assert (found.moe.num_experts, found.moe.top_k, found.moe.capacity_factor) == (4, 3, 1.5)
    assert (found.moe.aux_loss_coef, found.moe.router_activation, found.moe.dropout) == (0.1, "softmax", 0.2)
    assert [found.has_experts(layer) for layer in range(5)] == [True, False, True, False, True]
    assert overridden(dropless=True).moe.capacity_factor is None
    assert overridden(output_router_logits=False).moe.aux_loss_coef is None
    assert overridden(num_experts=6).moe.num_experts == 6
    assert MoeConfig().top_k == overridden().moe.top_k == 1
    assert not overridden().moe.normalize_top_k_affinities, "the router would get no gradient"
    assert overridden(top_k=2).moe.normalize_top_k_affinities


def test_layers_without_experts_have_an_mlp_of_that_width() -> None:
    model = MixtralForCausalLM(overridden(frequency=2))
    kinds = [type(layer.get_submodule("mlp")).__name__ for layer in model.model.layers]
    assert kinds == ["MoE", "MLP"]
    assert model.get_parameter("model.layers.1.mlp.up_proj.weight").shape == (80, 32)
    with pytest.raises(CheckpointError, match="has gated experts in every layer: this model is not one"):
        base.from_architecture("mixtral", asdict(model.config), "float32")


def test_the_longer_length_is_taken() -> None:
    section = {"encoder_seq_length": 8, "optim": {"name": "adamw", "lr": 1}}
    for override, wanted in ((8, 128), (4096, 4096)):
        model = ModelConfig.model_validate({**section, "max_position_embeddings": override})
        assert mixtral_config.from_values(BASE, model).max_position_embeddings == wanted
