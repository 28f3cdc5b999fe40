"""`distributed_strategy`: divisions that the number of processes has no part in (those are in `world`)."""

from collections.abc import Iterator
from typing import Final

from .expressions import above, flag, given, number, raw, whole
from .purpose import IS_MEGATRON, IS_SAMPLE_KNOWN, SAMPLE
from .rule import Reason, Rule

TP: Final = "distributed_strategy.tensor_model_parallel_size"
PP: Final = "distributed_strategy.pipeline_model_parallel_size"
VPP: Final = "distributed_strategy.virtual_pipeline_model_parallel_size"
CP: Final = "distributed_strategy.context_parallel_size"
EP: Final = "distributed_strategy.expert_model_parallel_size"
SHUFFLE: Final = "distributed_strategy.token_shuffle_group_size"
KV: Final = "distributed_strategy.kv_replicator"
_SPLIT: Final = "distributed_strategy.pipeline_model_parallel_split_rank"
_HEADS, _KV_HEADS, _LAYERS = "model.num_attention_heads", "model.num_kv_heads", "model.num_layers"
_CUTS: Final = "self.model.?pipeline_cuts.orValue([])"


def fusion(name: str) -> str:
    """A switch of `model.fusions`, which may stand at the top level, too (A18)."""
    return f"self.model.?fusions.?{name}.or(self.?fusions.?{name}).orValue(false)"


def rules() -> Iterator[Rule]:
    """Stages, sequence, heads, experts."""
    yield from _stages()
    yield from _sequence()
    yield from _heads()
    yield from _experts()
    yield Rule(2322, _SPLIT, f"type({raw(_SPLIT, absent=-1)}) == int && {given(_SPLIT)}", reason=Reason.FORBIDDEN)


def _stages() -> Iterator[Rule]:
    layers, stages, chunks = number(_LAYERS), number(PP), number(VPP)
    yield Rule(2304, VPP, f"{whole(PP, VPP)} && {chunks} > 1 && {stages} == 1")
    is_even = f"{whole(_LAYERS, PP, VPP)} && {_CUTS}.size() == 0"
    uneven = f"{chunks} > 1 && {stages} > 1 && {layers} % ({stages} * {chunks}) != 0"
    yield Rule(2306, VPP, f"{is_even} && {uneven}")
    too_few = f"({layers} < {stages} || {IS_MEGATRON} && {layers} % {stages} != 0)"
    yield Rule(2307, PP, f"{is_even} && !({uneven}) && {too_few}")
    count = f"{_CUTS}.size() > 0 && {_CUTS}.size() + 1 != {stages} * {chunks}"
    yield Rule(2507, "model.pipeline_cuts", f"{whole(PP, VPP)} && {count}")


def _sequence() -> Iterator[Rule]:
    parts = number(CP)
    yield Rule(2309, CP, f"{above(CP, 1)} && !{fusion('ring_attention')}")
    yield Rule(2310, CP, f"{IS_SAMPLE_KNOWN} && {whole(CP)} && {SAMPLE} % {parts} != 0")
    is_sharded = f"{flag('distributed_strategy.sequence_parallel')} && {IS_SAMPLE_KNOWN} && {whole(TP, CP)}"
    uneven = f"{SAMPLE} % {parts} == 0 && {SAMPLE} / {parts} % {number(TP)} != 0"
    yield Rule(2315, "model.encoder_seq_length", f"{is_sharded} && {uneven}")


def _heads() -> Iterator[Rule]:
    tensor, heads, kv, copies = number(TP), number(_HEADS), number(_KV_HEADS), number(KV)
    yield Rule(2311, TP, f"{IS_MEGATRON} && {whole(TP, _HEADS)} && {heads} % {tensor} != 0")
    width = "model.ffn_hidden_size"
    yield Rule(2312, TP, f"{IS_MEGATRON} && {whole(TP, width)} && {number(width)} % {tensor} != 0")
    has_copies = f"{flag('model.qkv_linear')} && {whole(TP, KV)}"
    yield Rule(2317, KV, f"{has_copies} && {tensor} % {copies} != 0")
    is_known = f"{IS_MEGATRON} && {has_copies} && {whole(_HEADS, _KV_HEADS)}"
    too_many = f"{kv} * {copies} > {heads} && {heads} % {tensor} == 0"
    yield Rule(2313, KV, f"{is_known} && ({kv} * {copies} % {tensor} != 0 || {too_many})")


def _experts() -> Iterator[Rule]:
    for key in (EP, SHUFFLE):
        yield Rule(2318, key, f"{above(key, 1)} && !{given('model.moe')}")
    count = "model.moe.num_experts"
    yield Rule(2319, EP, f"{whole(EP, count)} && {number(count)} % {number(EP)} != 0")
    yield Rule(2321, SHUFFLE, f"{above(SHUFFLE, 1)} && {given('model.moe')} && {flag('model.moe.dropless')}")
