"""Roles of the shared blocks below a name; a family's `roles` puts them together."""

from collections.abc import Callable, Sequence

from neuron_trainer.models.roles import Role


def decoder(layers: Sequence[str], feed_forward: Callable[[int], Callable[[str], dict[str, Role]]]) -> dict[str, Role]:
    """Return the roles of a decoder as `transformers` names its modules; `feed_forward`: of the layer with a number."""
    result = {"model.embed_tokens": Role.VOCABULARY_IN, "model.norm": Role.NORM, "lm_head": Role.VOCABULARY_OUT}
    for index, layer in enumerate(layers):
        result |= {f"{layer}.input_layernorm": Role.NORM, f"{layer}.post_attention_layernorm": Role.NORM}
        result |= attention(f"{layer}.self_attn")
        result |= feed_forward(index)(f"{layer}.mlp")
    return result


def attention(name: str) -> dict[str, Role]:
    """`Attention`: heads are split."""
    return {
        name: Role.BLOCK,
        f"{name}.q_proj": Role.COLUMN,
        f"{name}.k_proj": Role.KEY_VALUE,
        f"{name}.v_proj": Role.KEY_VALUE,
        f"{name}.core_attention.dropout": Role.DROPOUT_INSIDE,
        f"{name}.o_proj": Role.ROW,
    }


def mlp(name: str, *, is_gated: bool = True) -> dict[str, Role]:
    """`MLP`: its width is split."""
    gate = {f"{name}.gate_proj": Role.COLUMN} if is_gated else {}
    return {
        name: Role.BLOCK,
        **gate,
        f"{name}.up_proj": Role.COLUMN,
        f"{name}.dropout": Role.DROPOUT_INSIDE,
        f"{name}.down_proj": Role.ROW,
    }


def moe(name: str) -> dict[str, Role]:
    """`MoE`: the width of each expert is split."""
    return {
        name: Role.BLOCK,
        f"{name}.gate": Role.ROUTER,
        f"{name}.experts": Role.EXPERTS,
        f"{name}.experts.dropout": Role.DROPOUT_INSIDE,
        f"{name}.dropout": Role.DROPOUT,
    }
