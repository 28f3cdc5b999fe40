"""Roles of modules: the vocabulary between a model family and a parallel backend.

`decoder`, `attention`, `mlp` and `moe` are those of the shared blocks below a name; a family's `roles` puts them
together.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum


class Role(StrEnum):
    """How a module takes part in tensor and sequence parallelism (B-6)."""

    VOCABULARY_IN = "vocabulary-in"
    """Embedding split over the vocabulary."""
    VOCABULARY_OUT = "vocabulary-out"
    """Linear to the vocabulary, its output split over it; the loss is computed on the split logits."""
    COLUMN = "column"
    """Linear whose output features are split."""
    KEY_VALUE = "key-value"
    """Linear to key or value heads, of which there may be fewer than processes; `head_dim` is its parent's."""
    ROW = "row"
    """Linear whose input features are split; the partial outputs are summed."""
    NORM = "norm"
    """Works on each token alone: on a part of the sequence with sequence parallelism."""
    BLOCK = "block"
    """Needs the whole sequence at its input, its first argument; its linears have parts of the gradient of that."""
    POSITIONS = "positions"
    """Embedding of positions; its output is split over the sequence with sequence parallelism."""
    DROPOUT = "dropout"
    """Between blocks: processes hold the same states, or with sequence parallelism different parts of the sequence."""
    DROPOUT_INSIDE = "dropout-inside"
    """Inside a block: each process holds a part of the features or heads."""
    ROUTER = "router"
    """Chooses experts for every token of the whole sequence, on all processes alike."""
    EXPERTS = "experts"
    """MLPs as stacked weights [E, out, in]: gate and up split by output, down by input features; outputs are summed."""


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
