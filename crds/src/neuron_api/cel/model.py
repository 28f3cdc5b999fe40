"""`model`: the sizes of each source, attention, switches that are not supported; `model.moe`."""

from collections.abc import Iterator
from typing import Final

from neuron_api.findings.registry import ENTRIES

from .alignment import IS_HF, IS_MEGATRON
from .expressions import flag, is_above, is_other, is_set, numbers, raw, text, untyped
from .parallel import fusion
from .rule import Rule, RuleReason

_SIZES: Final = ("model.num_layers", "model.hidden_size", "model.ffn_hidden_size", "model.num_attention_heads")
_HIDDEN, _HEADS, _KV_HEADS = "model.hidden_size", "model.num_attention_heads", "model.num_kv_heads"
_OTHER_RECOMPUTE: Final = "model.activations_checkpoint"


def rules() -> Iterator[Rule]:
    """Yield the rules of sizes, attention, switches and experts."""
    yield from _sizes()
    yield from _heads()
    flash, ring = fusion("flash_attention"), fusion("ring_attention")
    yield Rule(2511, "model.fusions.ring_attention", f"{ring} && {flash}")
    positions, length = "model.max_position_embeddings", "model.encoder_seq_length"
    yield Rule(2506, positions, numbers(positions, length, condition=lambda rows, tokens: f"{rows} < {tokens}"))
    yield from _switches()
    yield from _experts()


def _sizes() -> Iterator[Rule]:
    path = "model.model_config"
    yield Rule(2501, path, f"{IS_HF} && {text(path)} == ''", reason=RuleReason.REQUIRED)
    for key in _SIZES:
        yield Rule(2502, key, f"{IS_MEGATRON} && (!{is_set(key)} || {raw(key)} == -1)", reason=RuleReason.REQUIRED)


def _heads() -> Iterator[Rule]:
    uneven = numbers(_HIDDEN, _HEADS, condition=lambda hidden, heads: f"{hidden} % {heads} != 0")
    yield Rule(2504, _HIDDEN, f"{IS_MEGATRON} && !{is_set('model.kv_channels')} && {uneven}")
    ungrouped = numbers(_HEADS, _KV_HEADS, condition=lambda heads, groups: f"{heads} % {groups} != 0")
    yield Rule(2505, _KV_HEADS, f"{IS_MEGATRON} && {ungrouped}")


def _switches() -> Iterator[Rule]:
    for key in ENTRIES["NTJ-2515"].keys:
        if key != "model.precision":
            yield Rule(2515, key, flag(key), reason=RuleReason.FORBIDDEN)
    method, layers = f"{_OTHER_RECOMPUTE}_method", f"{_OTHER_RECOMPUTE}_num_layers"
    yield Rule(2516, method, is_other(method, "uniform"), reason=RuleReason.FORBIDDEN)
    yield Rule(
        2516,
        layers,
        f"type({raw(layers, absent=1)}) == int && {raw(layers, absent=1)} != 1",
        reason=RuleReason.FORBIDDEN,
    )
    partial = "model.num_micro_batches_with_partial_activation_checkpoints"
    for key in (f"{_OTHER_RECOMPUTE}_layers_per_pipeline", partial):
        yield Rule(2516, key, f"{is_set(key)} && type({raw(key)}) == int", reason=RuleReason.FORBIDDEN)
    norms = "model.disable_layer_norm_checkpointing"
    yield Rule(2516, norms, f"{is_set(norms)} && !{flag(norms)}", reason=RuleReason.FORBIDDEN)
    yield Rule(2517, "model.transformer_block_type", is_other("model.transformer_block_type", "pre_ln"))


def _experts() -> Iterator[Rule]:
    chosen, count = "model.moe.top_k", "model.moe.num_experts"
    too_many = numbers(
        chosen, count, condition=lambda top_k, experts: f"{top_k} > {experts} && ({IS_HF} || {experts} > 1)"
    )
    yield Rule(2701, chosen, f"{is_set(count)} && {too_many}")
    capacity, dropless = untyped("model.moe.capacity_factor"), flag("model.moe.dropless")
    is_zero = f"({capacity}.orValue(1) == 0 || {capacity}.orValue(1) == 0.0)"
    yield Rule(2702, "model.moe.capacity_factor", f"{is_zero} && !{dropless}")
    router = f"{text('model.moe.routing_algorithm')} == 'sinkhorn'"
    yield Rule(2704, chosen, f"{router} && {is_above(chosen, 1)}")
    is_not_gated = f"!{flag('model.moe.glu_mlp')} || {IS_MEGATRON} && {is_other('model.activation', 'swiglu', 'silu')}"
    yield Rule(2705, "model.moe.dropless", f"{dropless} && ({is_not_gated})")
