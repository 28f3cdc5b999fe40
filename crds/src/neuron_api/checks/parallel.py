"""`distributed_strategy`: divisions that must come out even, whatever the model."""

from collections.abc import Iterator
from typing import Final

from neuron_api.config import TrainingConfig
from neuron_api.derive import alignment
from neuron_api.findings.finding import Finding
from neuron_api.findings.registry import make_finding
from neuron_api.platform.topology import Topology
from neuron_api.platform.topology import check as check_topology

_SECTION: Final = "distributed_strategy"


def check(config: TrainingConfig) -> Iterator[Finding]:
    """Yield the findings about world, batch, sequence, experts and key/value copies."""
    topology = Topology.from_config(config)
    yield from check_topology(topology, config)
    yield from _sequence(config)
    yield from _copies(config)
    yield from _experts(config, topology)
    if config.distributed_strategy.pipeline_model_parallel_split_rank is not None:
        yield make_finding(
            2322, f"{_SECTION}.pipeline_model_parallel_split_rank", "encoder/decoder models are not supported."
        )


def _sequence(config: TrainingConfig) -> Iterator[Finding]:
    strategy, fusions = config.distributed_strategy, config.model.fusions
    tensor, context = strategy.tensor_model_parallel_size, strategy.context_parallel_size
    length = alignment.sequence_length(config, alignment.strategy(config))
    if context > 1 and not fusions.ring_attention:
        yield make_finding(2309, f"{_SECTION}.context_parallel_size", f"{context} needs model.fusions.ring_attention.")
    if length % context:
        yield make_finding(
            2310,
            f"{_SECTION}.context_parallel_size",
            f"the {length} tokens of a sample cannot be split into {context} equal parts.",
        )
    elif strategy.sequence_parallel and length // context % tensor:
        part = f"the {length // context} tokens of each of {context} parts" if context > 1 else f"{length} tokens"
        yield make_finding(
            2315,
            "model.encoder_seq_length",
            f"{part} cannot be divided over {tensor} processes (sequence_parallel).",
            f"Use a multiple of {tensor * context}.",
        )
    if strategy.sequence_parallel and tensor == 1:
        yield make_finding(2314, f"{_SECTION}.sequence_parallel", "no effect with tensor_model_parallel_size 1.")


def _copies(config: TrainingConfig) -> Iterator[Finding]:
    strategy, key = config.distributed_strategy, f"{_SECTION}.kv_replicator"
    copies, tensor = strategy.kv_replicator or 1, strategy.tensor_model_parallel_size
    if copies > 1 and not config.model.qkv_linear:
        yield make_finding(2316, key, f"{copies} has no effect, since model.qkv_linear is False.")
    elif tensor % copies:
        yield make_finding(2317, key, f"tensor_model_parallel_size {tensor} is not a multiple of {copies}.")


def _experts(config: TrainingConfig, topology: Topology) -> Iterator[Finding]:
    strategy, moe = config.distributed_strategy, config.model.moe
    groups = {
        "expert_model_parallel_size": strategy.expert_model_parallel_size,
        "token_shuffle_group_size": strategy.token_shuffle_group_size,
    }
    for name, size in groups.items():
        if size > 1 and moe is None:
            yield make_finding(2318, f"{_SECTION}.{name}", f"{size} is about experts, and model.moe is missing.")
        elif size > 1 and topology.data_parallel % size:
            yield make_finding(
                2320,
                f"{_SECTION}.{name}",
                f"the data-parallel size {topology.data_parallel} is not a multiple of {size}.",
            )
    has_capacity = moe is not None and not moe.dropless and moe.capacity_factor
    if strategy.token_shuffle_group_size > 1 and moe is not None and not has_capacity:
        yield make_finding(
            2321,
            f"{_SECTION}.token_shuffle_group_size",
            "tokens are shuffled to even the load of experts with a capacity, and there is none.",
        )
