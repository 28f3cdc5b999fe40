"""`distributed_strategy`: divisions that the number of processes has no part in (those are in `world`)."""

from collections.abc import Callable, Iterator
from typing import Final

from .expressions import above, flag, given, numbers, raw
from .rule import Rule, RuleReason
from .training_mode import IS_MEGATRON, sample

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
    yield Rule(2322, _SPLIT, f"type({raw(_SPLIT, absent=-1)}) == int && {given(_SPLIT)}", reason=RuleReason.FORBIDDEN)


def _stages() -> Iterator[Rule]:
    yield Rule(2304, VPP, numbers(VPP, PP, that=lambda chunks, stages: f"{chunks} > 1 && {stages} == 1"))
    yield Rule(2306, VPP, _of_layers(_uneven))
    yield Rule(
        2307,
        PP,
        _of_layers(
            lambda stages, chunks, layers: (
                f"!({_uneven(stages, chunks, layers)}) && "
                f"({layers} < {stages} || {IS_MEGATRON} && {layers} % {stages} != 0)"
            )
        ),
    )
    count = numbers(PP, VPP, that=lambda stages, chunks: f"{_CUTS}.size() + 1 != {stages} * {chunks}")
    yield Rule(2507, "model.pipeline_cuts", f"{_CUTS}.size() > 0 && {count}")


def _uneven(stages: str, chunks: str, layers: str) -> str:
    return f"{chunks} > 1 && {layers} % ({stages} * {chunks}) != 0"


def _of_layers(that: Callable[[str, str, str], str]) -> str:
    """Whether something holds for several stages, chunks and layers, where no cuts are given."""

    def of_stages(stages: str, chunks: str) -> str:
        layers = numbers(_LAYERS, that=lambda layers: that(stages, chunks, layers), name="l")
        return f"{stages} > 1 && {_CUTS}.size() == 0 && {layers}"

    return numbers(PP, VPP, that=of_stages)


def _sequence() -> Iterator[Rule]:
    yield Rule(2309, CP, f"{above(CP, 1)} && !{fusion('ring_attention')}")
    uneven = numbers(CP, that=lambda parts: f"{parts} > 1 && {sample(lambda tokens: f'{tokens} % {parts} != 0')}")
    yield Rule(2310, CP, uneven)
    is_sharded = flag("distributed_strategy.sequence_parallel")
    yield Rule(2315, "model.encoder_seq_length", f"{is_sharded} && {numbers(TP, CP, that=_uneven_shards)}")


def _uneven_shards(tensor: str, parts: str) -> str:
    uneven = sample(lambda tokens: f"{tokens} % {parts} == 0 && {tokens} / {parts} % {tensor} != 0")
    return f"{tensor} > 1 && {uneven}"


def _heads() -> Iterator[Rule]:
    for number, width in ((2311, _HEADS), (2312, "model.ffn_hidden_size")):
        uneven = numbers(TP, width, that=lambda tensor, parts: f"{parts} % {tensor} != 0")
        yield Rule(number, TP, f"{IS_MEGATRON} && {uneven}")
    has_copies = f"{above(KV, 1)} && {flag('model.qkv_linear')}"
    yield Rule(2317, KV, f"{has_copies} && {numbers(TP, KV, that=lambda tensor, copies: f'{tensor} % {copies} != 0')}")
    heads = numbers(TP, KV, _HEADS, _KV_HEADS, that=_wrong_copies)
    yield Rule(2313, KV, f"{IS_MEGATRON} && {flag('model.qkv_linear')} && {heads}")


def _wrong_copies(tensor: str, copies: str, heads: str, kv_heads: str) -> str:
    all_copies = f"{kv_heads} * {copies}"
    return f"({all_copies} % {tensor} != 0 || {all_copies} > {heads} && {heads} % {tensor} == 0)"


def _experts() -> Iterator[Rule]:
    for key in (EP, SHUFFLE):
        yield Rule(2318, key, f"{above(key, 1)} && !{given('model.moe')}")
    count = "model.moe.num_experts"
    uneven = numbers(EP, count, that=lambda groups, experts: f"{experts} % {groups} != 0")
    yield Rule(2319, EP, f"{above(EP, 1)} && {uneven}")
    yield Rule(2321, SHUFFLE, f"{above(SHUFFLE, 1)} && {given('model.moe')} && {flag('model.moe.dropless')}")
