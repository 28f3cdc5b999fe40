"""The model's sizes against the parallel sizes: heads, MLP width, experts."""

from collections.abc import Iterator
from typing import Final

from neuron_api.config import TrainingConfig
from neuron_api.derive import sharding
from neuron_api.derive.architecture import Architecture
from neuron_api.findings.finding import Finding
from neuron_api.findings.registry import make_finding

_TP: Final = "distributed_strategy.tensor_model_parallel_size"


def check(config: TrainingConfig, sizes: Architecture) -> Iterator[Finding]:
    """Yield the findings about divisions by the tensor- and the expert-parallel size."""
    tensor = config.distributed_strategy.tensor_model_parallel_size
    if sizes.heads % tensor:
        yield make_finding(2311, _TP, f"{sizes.heads} attention heads cannot be divided over {tensor} processes.")
    if sizes.ffn % tensor:
        yield make_finding(2312, _TP, f"an MLP of width {sizes.ffn} cannot be divided over {tensor} processes.")
    if sizes.vocabulary and sizes.vocabulary_multiple is None and sizes.vocabulary % tensor:
        yield make_finding(
            2323,
            _TP,
            f"a vocabulary of {sizes.vocabulary} cannot be divided over {tensor} processes.",
            _padded(sizes.vocabulary, tensor),
        )
    yield from _key_value_heads(config, sizes)
    yield from _experts(config, sizes)


def _padded(vocabulary: int, tensor: int) -> str:
    return (
        f"Use a size that divides it, or a model whose vocab_size and embeddings are padded to "
        f"{-(-vocabulary // tensor) * tensor}."
    )


def _key_value_heads(config: TrainingConfig, sizes: Architecture) -> Iterator[Finding]:
    strategy = config.distributed_strategy
    tensor, requested = strategy.tensor_model_parallel_size, sharding.requested_replication(config)
    copies = sharding.replication(sizes.kv_heads, tensor, requested) or 1
    key = "distributed_strategy.kv_replicator" if requested else _TP
    if sizes.kv_heads * copies % tensor:
        yield make_finding(
            2313,
            key,
            f"{sizes.kv_heads} key/value heads x {copies} copies cannot be divided over {tensor} processes.",
        )
    elif sizes.kv_heads * copies > sizes.heads and sizes.heads % tensor == 0:
        yield make_finding(
            2313,
            key,
            f"{sizes.kv_heads} key/value heads x {copies} copies are more than the {sizes.heads} query heads.",
        )


def _experts(config: TrainingConfig, sizes: Architecture) -> Iterator[Finding]:
    strategy = config.distributed_strategy
    count = sizes.experts.count if sizes.experts else 1
    group = strategy.expert_model_parallel_size
    if group > 1 and config.model.moe is not None and count % group:
        yield make_finding(
            2319,
            "distributed_strategy.expert_model_parallel_size",
            f"{count} experts cannot be divided over {group} processes.",
        )
    if sizes.experts and sizes.experts.per_token > count:
        yield make_finding(
            2701, "model.moe.top_k", f"{sizes.experts.per_token} experts per token, and there are {count}."
        )
