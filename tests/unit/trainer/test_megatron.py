"""Megatron's model is GPT-2, GPT-NeoX, Llama, Mistral or Mixtral of `transformers`, as its keys say."""

from math import sqrt
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu, relu, silu

from neuron_trainer.errors import InputError
from neuron_trainer.models.blocks.dropout import Dropout
from neuron_trainer.models.blocks.rotary import Rope, RopeScaling
from neuron_trainer.models.family import Family
from neuron_trainer.models.llama import LlamaForCausalLM
from neuron_trainer.models.megatron import MegatronForCausalLM
from neuron_trainer.models.mixtral import MixtralForCausalLM
from neuron_trainer.models.spec import Prediction
from neuron_trainer.parallel.recompute import recompute_modules

from .megatron import GPT, MOE, SHAPES, SIZES, section

pytestmark = pytest.mark.slow

VOCABULARY, LENGTH = 96, 40
HF_SIZES = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 80, "num_hidden_layers": 4,
    "num_attention_heads": 4, "max_position_embeddings": 64,
}  # fmt: skip


def model_of(*, seed: int = 1, **keys: Any) -> MegatronForCausalLM:
    """With random weights, no norm 1 and no bias 0."""
    family = Family.from_config(section("megatron", **keys), VOCABULARY)
    torch.manual_seed(seed)
    model: Any = family.on_meta().to_empty(device="cpu")
    family.tie(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2 + ("norm" in name))
    return model  # type: ignore[no-any-return]


def ids() -> Tensor:
    return torch.randint(0, VOCABULARY, (2, LENGTH), generator=torch.Generator().manual_seed(3))


def logits_of(output: Tensor | Prediction) -> Tensor:
    return output.logits if isinstance(output, Prediction) else output


def compare(ours: MegatronForCausalLM, theirs: nn.Module, named: dict[str, tuple[str, Any]]) -> None:
    """Logits and all gradients; `named`: our parameter to theirs and how ours is cut out of it."""
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            source, cut = named[name]
            parameter.copy_(cut(theirs.get_parameter(source)))
    found, wanted = logits_of(ours(ids())), theirs(ids()).logits
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    for logits in (found, wanted):
        cross_entropy(logits[:, :-1].flatten(0, 1), ids()[:, 1:].flatten()).backward()  # type: ignore[no-untyped-call]
    for name, parameter in ours.named_parameters():
        source, cut = named[name]
        torch.testing.assert_close(
            parameter.grad, cut(theirs.get_parameter(source).grad), rtol=1e-5, atol=1e-6, msg=name
        )  # fmt: skip


def shaken(config: Any) -> nn.Module:
    """Their model with no norm 1 and no bias 0."""
    torch.manual_seed(1)
    theirs: nn.Module = transformers.AutoModelForCausalLM.from_config(config).float().eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return theirs


def whole(tensor: Tensor) -> Tensor:
    return tensor


def test_the_gpt_shape_is_gpt2() -> None:
    config = transformers.GPT2Config(
        vocab_size=VOCABULARY, n_positions=64, n_embd=32, n_layer=4, n_head=4, n_inner=80, activation_function="gelu"
    )

    def turned(tensor: Tensor) -> Tensor:
        return tensor.t()  # GPT-2's linears are stored [in, out]

    def part(index: int) -> Any:
        return lambda tensor: tensor.t().chunk(3)[index] if tensor.ndim == 2 else tensor.chunk(3)[index]

    named: dict[str, tuple[str, Any]] = {
        "model.embed_tokens.weight": ("transformer.wte.weight", whole),
        "model.embed_positions.weight": ("transformer.wpe.weight", whole),
        "model.norm.weight": ("transformer.ln_f.weight", whole),
        "model.norm.bias": ("transformer.ln_f.bias", whole),
    }
    blocks = {"input_layernorm": ("ln_1", whole), "post_attention_layernorm": ("ln_2", whole),
              "self_attn.q_proj": ("attn.c_attn", part(0)), "self_attn.k_proj": ("attn.c_attn", part(1)),
              "self_attn.v_proj": ("attn.c_attn", part(2)), "self_attn.o_proj": ("attn.c_proj", turned),
              "mlp.up_proj": ("mlp.c_fc", turned), "mlp.down_proj": ("mlp.c_proj", turned)}  # fmt: skip
    for layer in range(4):
        for ours, (source, cut) in blocks.items():
            for kind in ("weight", "bias"):
                own = whole if kind == "bias" and cut is turned else cut
                named[f"model.layers.{layer}.{ours}.{kind}"] = (f"transformer.h.{layer}.{source}.{kind}", own)
    compare(model_of(**GPT), shaken(config), named)


@pytest.mark.parametrize("percentage", [0.25, 0.5, 1.0])
def test_a_part_of_each_head_is_rotated_as_in_gpt_neox(percentage: float) -> None:
    config = transformers.GPTNeoXConfig(
        **HF_SIZES,
        use_parallel_residual=False,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": percentage},
        attention_bias=True,
        tie_word_embeddings=False,
    )

    def part(index: int) -> Any:  # stored head by head: [heads, 3, head_dim, H]
        return lambda tensor: tensor.unflatten(0, (4, 3, 8))[:, index].flatten(0, 1)

    named: dict[str, tuple[str, Any]] = {
        "model.embed_tokens.weight": ("gpt_neox.embed_in.weight", whole),
        "model.norm.weight": ("gpt_neox.final_layer_norm.weight", whole),
        "model.norm.bias": ("gpt_neox.final_layer_norm.bias", whole),
        "lm_head.weight": ("lm_head.weight", whole),
    }
    blocks = {"input_layernorm": ("input_layernorm", whole),
              "post_attention_layernorm": ("post_attention_layernorm", whole),
              "self_attn.q_proj": ("attention.query_key_value", part(0)),
              "self_attn.k_proj": ("attention.query_key_value", part(1)),
              "self_attn.v_proj": ("attention.query_key_value", part(2)),
              "self_attn.o_proj": ("attention.dense", whole), "mlp.up_proj": ("mlp.dense_h_to_4h", whole),
              "mlp.down_proj": ("mlp.dense_4h_to_h", whole)}  # fmt: skip
    for layer in range(4):
        for ours, (source, cut) in blocks.items():
            for kind in ("weight", "bias"):
                named[f"model.layers.{layer}.{ours}.{kind}"] = (f"gpt_neox.layers.{layer}.{source}.{kind}", cut)
    keys = {**GPT, "position_embedding_type": "rope", "share_embeddings_and_output_weights": False}
    compare(model_of(**keys, rotary_percentage=percentage), shaken(config), named)


@pytest.mark.parametrize(
    ("keys", "values"),
    [
        ({"num_kv_heads": 2}, {}),
        ({"num_kv_heads": 2, "share_embeddings_and_output_weights": True}, {"tie_word_embeddings": True}),
        ({"num_kv_heads": 2, "sliding_window_size": 9}, {"model_type": "mistral", "sliding_window": 9}),
        ({"kv_channels": 16, "num_kv_heads": 2}, {"head_dim": 16}),
        ({"num_kv_heads": 2, "positition_interpolation_factor": 4.0, "position_freq_base": 500.0,
          "position_abf_factor": 3.0},
         {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1500.0}}),
    ],
)  # fmt: skip
def test_the_llama_and_mistral_shapes_are_those_of_transformers_under_the_same_names(
    keys: dict[str, Any], values: dict[str, Any]
) -> None:
    config = transformers.AutoConfig.for_model(
        **{"model_type": "llama", **HF_SIZES, "num_key_value_heads": 2, "rms_norm_eps": 1e-5, **values}
    )
    ours = model_of(**keys)
    compare(ours, shaken(config), {name: (name, whole) for name, _ in ours.named_parameters()})


def test_the_mixtral_shape_is_mixtral_with_the_other_router() -> None:
    moe = {**MOE, "router_activation": "softmax", "dropless": True, "router_aux_loss_coef": 0.1}
    ours = model_of(num_kv_heads=2, moe=moe)
    values = {"model_type": "mixtral", **HF_SIZES, "num_key_value_heads": 2, "rms_norm_eps": 1e-5, "rope_theta": 1e4}
    family = Family.from_json(values, section(moe=moe, model_config="unused"))
    theirs: Any = family.on_meta().to_empty(device="cpu")
    assert isinstance(theirs, MixtralForCausalLM)
    theirs.load_state_dict(ours.state_dict())
    found, wanted = ours(ids()), theirs(ids())
    assert isinstance(found, Prediction)
    assert isinstance(wanted, Prediction)
    torch.testing.assert_close(found.logits, wanted.logits)
    torch.testing.assert_close(found.auxiliary, wanted.auxiliary)


def test_a_megatron_llama_is_our_llama() -> None:
    ours = model_of(num_kv_heads=2)
    values = {"model_type": "llama", **HF_SIZES, "num_key_value_heads": 2, "rms_norm_eps": 1e-5}
    theirs: Any = Family.from_json(values, section(model_config="unused")).on_meta().to_empty(device="cpu")
    assert isinstance(theirs, LlamaForCausalLM)
    theirs.load_state_dict(ours.state_dict())
    assert torch.equal(logits_of(ours(ids())), theirs(ids()))


@pytest.mark.parametrize(
    ("activation", "function", "is_gated"),
    [
        ("swiglu", silu, True),
        ("geglu", gelu, True),
        ("reglu", relu, True),
        ("silu", silu, False),
        ("gelu", gelu, False),
    ],
)
def test_each_activation_is_its_formula(activation: str, function: Any, is_gated: bool) -> None:
    mlp: Any = model_of(activation=activation, has_bias=True).get_submodule("model.layers.0.mlp")
    states = torch.randn(5, 32)
    inner = function(mlp.gate_proj(states)) * mlp.up_proj(states) if is_gated else function(mlp.up_proj(states))
    torch.testing.assert_close(mlp(states), mlp.down_proj(inner))
    assert (mlp.gate_proj is not None) == is_gated


def test_layers_are_counted_from_one_for_their_frequency() -> None:
    model = model_of(moe={**MOE, "frequency": 2})
    kinds = [type(layer.get_submodule("mlp")).__name__ for layer in model.model.layers]
    assert kinds == ["ParallelMLP", "NeuronSwitchMLP", "ParallelMLP", "NeuronSwitchMLP"]
    assert type(model_of(moe={"num_experts": 1}).get_submodule("model.layers.0.mlp")).__name__ == "ParallelMLP"


def test_a_query_does_not_see_what_is_later_or_before_its_window() -> None:
    model = model_of(sliding_window_size=5, num_layers=1)
    changed = ids()
    changed[:, 20] = (changed[:, 20] + 1) % VOCABULARY
    differs = (logits_of(model(ids())) != logits_of(model(changed))).any(dim=-1).any(dim=0)
    assert differs.nonzero().flatten().tolist() == [20, 21, 22, 23, 24]


def test_score_scaling_and_the_norms_kernel_change_no_number() -> None:
    wanted = logits_of(model_of()(ids()))
    for keys in ({"apply_query_key_layer_scaling": False}, {"persist_layer_norm": False}):
        assert torch.equal(logits_of(model_of(**keys)(ids())), wanted)


def test_an_fp32_residual_is_kept_beside_bf16_weights() -> None:
    for keys in (GPT, {"num_kv_heads": 2}):
        streams = {}
        for kept in (True, False):
            model = model_of(**keys, fp32_residual_connection=kept).bfloat16()
            seen: list[torch.dtype] = []
            model.model.layers[1].register_forward_hook(lambda _, __, output, seen=seen: seen.append(output[0].dtype))
            assert logits_of(model(ids())).dtype == torch.bfloat16
            streams[kept] = seen
        assert streams == {True: [torch.float32], False: [torch.bfloat16]}


# ---- initial weights ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("shape", ["gpt", "mixtral"])
def test_initial_weights_have_the_deviation_of_their_class(shape: str, scaled: bool) -> None:
    keys = {**SHAPES[shape], "hidden_size": 256, "max_position_embeddings": 512}
    family = Family.from_config(section("megatron", **keys, init_method_std=0.05, use_scaled_init_method=scaled), 1024)
    for name, parameter in family.on_meta().named_parameters():
        drawn = family.init_parameter(name, parameter.shape)
        if "norm" in name or name.endswith("bias"):
            assert drawn.unique().tolist() == [1.0 if name.endswith("weight") else 0.0], name
            continue
        ends_block = any(part in name for part in ("o_proj", "down_proj"))
        wanted = 0.05 / sqrt(8) if scaled and ends_block else 0.05
        tolerance = 0.03 if drawn.numel() > 5000 else 0.08
        assert drawn.std().item() == pytest.approx(wanted, rel=tolerance), name


def test_padding_of_the_vocabulary_does_not_change_the_rows_before_it() -> None:
    one, two = (Family.from_config(section("megatron", tensor=tensor), 91) for tensor in (1, 4))
    assert (one.config.vocab_size, two.config.vocab_size) == (96, 96)
    wider = Family.from_config(section("megatron", tensor=8), 91)
    name = "model.embed_tokens.weight"
    assert wider.config.vocab_size == 128
    padded, plain = (f.init_parameter(name, torch.Size((rows, 32))) for f, rows in ((wider, 128), (one, 96)))
    assert torch.equal(padded[:96], plain)


# ---- dropout ------------------------------------------------------------------------------------------------------

DROPOUTS = {"hidden_dropout": 9, "attention_dropout": 4, "ffn_dropout": 4}
"""Modules of a model of four layers."""


@pytest.mark.parametrize("key", DROPOUTS)
def test_dropout_is_where_it_is_asked_for_and_only_in_training(key: str) -> None:
    model, plain = model_of(**{key: 0.5}), model_of()
    active = [module for module in model.modules() if isinstance(module, Dropout) and module.probability]
    assert len(active) == DROPOUTS[key]
    assert torch.equal(logits_of(model.eval()(ids())), logits_of(plain(ids())))
    model.train()
    assert not torch.equal(logits_of(model(ids())), logits_of(model(ids()))), "each step has masks of its own"
    torch.manual_seed(5)
    once = logits_of(model(ids()))
    torch.manual_seed(5)
    assert torch.equal(logits_of(model(ids())), once)


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    states = torch.ones(200, 500)
    found = Dropout(0.2)(states)
    assert (found == 0).float().mean().item() == pytest.approx(0.2, abs=0.01)
    assert found.mean().item() == pytest.approx(1.0, abs=0.01)
    assert set(found.unique().tolist()) == {0.0, 1.25}


def test_another_stream_has_another_mask_and_does_not_move_the_common_one() -> None:
    here, there = Dropout(0.5), Dropout(0.5)
    there.stream = 2719
    masks = []
    for one in (here, there):
        torch.manual_seed(1)
        masks.append((one(torch.ones(100)), torch.rand(1)))
    assert not torch.equal(masks[0][0], masks[1][0])
    assert torch.equal(masks[0][1], masks[1][1])


def test_attention_probabilities_are_dropped_as_torch_would() -> None:
    """With the probability 0 of being dropped, the path with the probabilities in memory is the kernel's."""
    model = model_of(attention_dropout=1e-9, sliding_window_size=7, num_kv_heads=2)
    wanted = logits_of(model.eval()(ids()))
    torch.testing.assert_close(logits_of(model.train()(ids())), wanted, rtol=1e-5, atol=1e-5)


RECOMPUTED = ["CoreAttention", "ParallelAttention", "ParallelMLP", "NeuronSwitchMLP"]


@pytest.mark.parametrize("names", [None, RECOMPUTED, *([name] for name in RECOMPUTED)])
def test_recompute_repeats_the_masks(names: list[str] | None) -> None:
    keys: dict[str, Any] = {**GPT, "hidden_dropout": 0.2, "attention_dropout": 0.3, "ffn_dropout": 0.4,
                            "moe": {**MOE, "frequency": 2, "dropout": 0.2, "moe_dropout": 0.2}}  # fmt: skip
    plain, again = model_of(**keys), model_of(**keys)
    granularity = "full" if names is None else "selective"
    wanted = section(
        "megatron", activations_checkpoint_granularity=granularity, activations_checkpoint_recompute=names
    ).model  # fmt: skip
    recompute_modules(again, wanted, [f"model.layers.{layer}" for layer in range(4)])
    for model in (plain, again):
        torch.manual_seed(5)
        output = model(ids())
        assert isinstance(output, Prediction)
        (output.logits.square().mean() + output.auxiliary).backward()  # type: ignore[no-untyped-call]
    for (name, one), other in zip(plain.named_parameters(), again.parameters(), strict=True):
        assert one.grad is not None
        assert torch.equal(one.grad, other.grad), name  # type: ignore[arg-type]


# ---- what cannot be built ------------------------------------------------------------------------------------------


def test_what_is_missing_is_named() -> None:
    with pytest.raises(InputError, match="the size of the vocabulary is not known"):
        Family.from_config(section("megatron"))
    without = {name: value for name, value in SIZES.items() if name != "num_layers"}
    with pytest.raises(InputError, match="num_layers, hidden_size and num_attention_heads are needed"):
        Family.from_config(section("megatron", **{**without, "num_layers": None}), 96)
    with pytest.raises(InputError, match="'post_ln' is not supported"):
        Family.from_config(section("megatron", transformer_block_type="post_ln"), 96)


def test_the_keys_of_rotary_positions() -> None:
    found: Any = Family.from_config(
        section("megatron", rotary_percentage=0.5, positition_interpolation_factor=2.0), 96
    ).config
    assert found.rope == Rope(10000.0, 4, RopeScaling("linear", 2.0))
    assert Family.from_config(section("megatron", **GPT), 96).config.max_sequence == 64
