"""`distributed_strategy`: divisions that must come out even, whatever the model; layers over pipeline stages: even
splits, the interleaved schedule, cuts by hand.
"""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from neuron_api.config import TrainingConfig
from neuron_api.derive import alignment
from neuron_api.findings.finding import Finding
from neuron_api.findings.registry import make_finding
from neuron_api.platform.topology import Topology
from neuron_api.platform.topology import check as check_topology

_STAGES: Final = "distributed_strategy.pipeline_model_parallel_size"
_CHUNKS: Final = "distributed_strategy.virtual_pipeline_model_parallel_size"
_CUT: Final = re.compile(r"model\.layers\.(\d{1,6})")


def check_stages(config: TrainingConfig, layers: int | None) -> Iterator[Finding]:
    """Yield the findings about stages; `layers` is None if only an unavailable config.json has the number."""
    strategy, batches = config.distributed_strategy, Topology.from_config(config).micro_batches
    stages, chunks = strategy.pipeline_model_parallel_size, strategy.virtual_pipeline_model_parallel_size
    if chunks > 1 and stages == 1:
        yield make_finding(2304, _CHUNKS, f"{chunks} chunks per stage need pipeline_model_parallel_size above 1.")
    elif chunks > 1 and batches % stages:
        yield make_finding(
            2305, _CHUNKS, f"the {batches} micro-batches of a step are not a multiple of {stages} stages."
        )
    if stages > 1 and 0 < batches < stages:
        idle = round(100 * (stages - 1) / (batches + stages - 1))
        yield make_finding(
            2308,
            _STAGES,
            f"{batches} micro-batches for {stages} stages: each stage waits {idle} % of a step.",
        )
    if config.model.pipeline_cuts:
        yield from _cuts(config, layers)
    elif layers is not None:
        yield from _even(config, layers)


def _even(config: TrainingConfig, layers: int) -> Iterator[Finding]:
    strategy = config.distributed_strategy
    stages, chunks = strategy.pipeline_model_parallel_size, strategy.virtual_pipeline_model_parallel_size
    if chunks > 1 and stages > 1 and layers % (stages * chunks):
        yield make_finding(
            2306, _CHUNKS, f"{layers} layers cannot be divided into {stages} stages x {chunks} chunks evenly."
        )
    elif layers < stages:
        yield make_finding(2307, _STAGES, f"{layers} layers are fewer than {stages} stages.")
    elif config.model_source == "megatron" and layers % stages:
        yield make_finding(
            2307,
            _STAGES,
            f"{layers} layers of a Megatron model cannot be divided into {stages} equal stages.",
            "Use fewer stages or other layers, or cut by hand with model.pipeline_cuts.",
        )


def _cuts(config: TrainingConfig, layers: int | None) -> Iterator[Finding]:
    strategy, key = config.distributed_strategy, "model.pipeline_cuts"
    blocks = strategy.pipeline_model_parallel_size * strategy.virtual_pipeline_model_parallel_size
    cuts = config.model.pipeline_cuts or ()
    if len(cuts) != blocks - 1:
        yield make_finding(
            2507,
            key,
            f"{len(cuts)} cuts make {len(cuts) + 1} parts, and there are {blocks} (stages x chunks).",
            f"Give {blocks - 1}, or null for an even split.",
        )
    matched = [_CUT.fullmatch(cut) for cut in cuts]
    if not all(matched):
        wrong = next(cut for cut, match in zip(cuts, matched, strict=True) if match is None)
        yield make_finding(2508, key, f"{wrong[:60]!r} is not of the form model.layers.K.")
        return
    numbers = [int(match[1]) for match in matched if match]
    if any(first >= second for first, second in pairwise(numbers)):
        yield make_finding(2508, key, "the layers are not in ascending order, each once.")
    elif layers is not None and numbers and numbers[-1] >= layers - 1:
        yield make_finding(
            2508, key, f"layer {numbers[-1]} is not before the last of {layers} layers, which is {layers - 1}."
        )


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
