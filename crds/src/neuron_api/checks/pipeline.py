"""Layers over pipeline stages: even splits, the interleaved schedule, cuts by hand."""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from neuron_api.config import TrainingConfig
from neuron_api.findings.finding import Finding
from neuron_api.findings.registry import make_finding
from neuron_api.platform.topology import Topology

_STAGES: Final = "distributed_strategy.pipeline_model_parallel_size"
_CHUNKS: Final = "distributed_strategy.virtual_pipeline_model_parallel_size"
_CUT: Final = re.compile(r"model\.layers\.(\d{1,6})")


def check(config: TrainingConfig, layers: int | None) -> Iterator[Finding]:
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
