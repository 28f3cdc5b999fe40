"""`distributed_strategy`: divisions that do not involve the number of processes (those are in `world_size`)."""

from collections.abc import Callable, Iterator
from typing import Final

from .alignment import IS_MEGATRON, for_sample_length
from .expressions import flag, is_above, is_set, numbers, raw
from .rule import Rule, RuleReason

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


def fusion(name: str, config: str = "self") -> str:
    """Return the expression of a switch of `model.fusions`, which may also stand at the top level (A18)."""
    return f"{config}.model.?fusions.?{name}.or({config}.?fusions.?{name}).orValue(false)"


def rules() -> Iterator[Rule]:
    """Yield the rules of stages, sequence, heads and experts."""
    yield from _stages()
    yield from _sequence()
    yield from _heads()
    yield from _experts()
    yield Rule(2322, _SPLIT, f"type({raw(_SPLIT, absent=-1)}) == int && {is_set(_SPLIT)}", reason=RuleReason.FORBIDDEN)


def _stages() -> Iterator[Rule]:
    yield Rule(2304, VPP, numbers(VPP, PP, condition=lambda chunks, stages: f"{chunks} > 1 && {stages} == 1"))
    yield Rule(2306, VPP, _for_layers(_uneven))
    yield Rule(
        2307,
        PP,
        _for_layers(
            lambda stages, chunks, layers: (
                f"!({_uneven(stages, chunks, layers)}) && "
                f"({layers} < {stages} || {IS_MEGATRON} && {layers} % {stages} != 0)"
            )
        ),
    )
    count = numbers(PP, VPP, condition=lambda stages, chunks: f"{_CUTS}.size() + 1 != {stages} * {chunks}")
    yield Rule(2507, "model.pipeline_cuts", f"{_CUTS}.size() > 0 && {count}")


def _uneven(stages: str, chunks: str, layers: str) -> str:
    return f"{chunks} > 1 && {layers} % ({stages} * {chunks}) != 0"


def _for_layers(condition: Callable[[str, str, str], str]) -> str:
    """Return an expression that is true if the condition holds for several stages, chunks and layers without cuts."""

    def in_stages(stages: str, chunks: str) -> str:
        layers = numbers(_LAYERS, condition=lambda layers: condition(stages, chunks, layers), name="l")
        return f"{stages} > 1 && {_CUTS}.size() == 0 && {layers}"

    return numbers(PP, VPP, condition=in_stages)


def _sequence() -> Iterator[Rule]:
    yield Rule(2309, CP, f"{is_above(CP, 1)} && !{fusion('ring_attention')}")
    uneven = numbers(
        CP, condition=lambda parts: f"{parts} > 1 && {for_sample_length(lambda tokens: f'{tokens} % {parts} != 0')}"
    )
    yield Rule(2310, CP, uneven)
    is_sharded = flag("distributed_strategy.sequence_parallel")
    yield Rule(2315, "model.encoder_seq_length", f"{is_sharded} && {numbers(TP, CP, condition=_uneven_shards)}")


def _uneven_shards(tensor: str, parts: str) -> str:
    uneven = for_sample_length(lambda tokens: f"{tokens} % {parts} == 0 && {tokens} / {parts} % {tensor} != 0")
    return f"{tensor} > 1 && {uneven}"


def _heads() -> Iterator[Rule]:
    for number, width in ((2311, _HEADS), (2312, "model.ffn_hidden_size")):
        uneven = numbers(TP, width, condition=lambda tensor, parts: f"{parts} % {tensor} != 0")
        yield Rule(number, TP, f"{IS_MEGATRON} && {uneven}")
    has_copies = f"{is_above(KV, 1)} && {flag('model.qkv_linear')}"
    yield Rule(
        2317, KV, f"{has_copies} && {numbers(TP, KV, condition=lambda tensor, copies: f'{tensor} % {copies} != 0')}"
    )
    heads = numbers(TP, KV, _HEADS, _KV_HEADS, condition=_wrong_copies)
    yield Rule(2313, KV, f"{IS_MEGATRON} && {flag('model.qkv_linear')} && {heads}")


def _wrong_copies(tensor: str, copies: str, heads: str, kv_heads: str) -> str:
    all_copies = f"{kv_heads} * {copies}"
    return f"({all_copies} % {tensor} != 0 || {all_copies} > {heads} && {heads} % {tensor} == 0)"


def _experts() -> Iterator[Rule]:
    for key in (EP, SHUFFLE):
        yield Rule(2318, key, f"{is_above(key, 1)} && !{is_set('model.moe')}")
    count = "model.moe.num_experts"
    uneven = numbers(EP, count, condition=lambda groups, experts: f"{experts} % {groups} != 0")
    yield Rule(2319, EP, f"{is_above(EP, 1)} && {uneven}")
    yield Rule(2321, SHUFFLE, f"{is_above(SHUFFLE, 1)} && {is_set('model.moe')} && {flag('model.moe.dropless')}")
