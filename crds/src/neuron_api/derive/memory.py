"""Device memory of the process that needs most, in bytes; docs/design/009-memory-estimate.md has the formulas.

An estimate of what the training itself holds. Not counted: the runtime, compiled graphs, buffers of collectives,
fragmentation.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass

from . import activations
from .architecture import Architecture
from .parameters import Parameters, count
from .precision import Widths
from .recompute import RecomputeUnit
from .sharding import Sharding


@dataclass(frozen=True, slots=True)
class Work:
    """What one process computes in a step, apart from how the model is split."""

    tokens: int
    """Of a micro-batch on one process: rows x sequence / CP."""
    micro_batches: int
    states: int
    """Tensors per parameter that the optimizer keeps."""
    widths: Widths
    parts: Set[RecomputeUnit]
    """What is recomputed."""
    adapters_of_layer: int = 0
    """Trained parameters of a layer with LoRA, whose base is frozen; 0: everything is trained."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes on one process at the peak of a step."""

    stage: int
    """Pipeline stage of the process."""
    parameters: int
    """Elements, not bytes, that the process computes with."""
    weights: int
    gradients: int
    masters: int
    optimizer_state: int
    activations: int
    total: int
    """Least that the step needs; see `_peak`."""


def estimate(model: Architecture, split: Sharding, blocks: Sequence[int], work: Work) -> Memory | None:
    """The pipeline stage that needs most; None when the vocabulary is not known. `blocks`: layers of each block."""
    counted = count(model, split)
    if counted is None:
        return None
    stages = (of_stage(stage, model, split, blocks, work, counted) for stage in range(split.pipeline))
    return max(stages, key=lambda memory: memory.total)


def of_stage(
    stage: int, model: Architecture, split: Sharding, blocks: Sequence[int], work: Work, counted: Parameters
) -> Memory:
    """A process of one pipeline stage."""
    own = blocks[stage :: split.pipeline]
    dense, experts = counted.of_layers(sum(own), model.experts)
    dense += counted.embedding if stage == 0 else 0
    dense += counted.head if stage == split.pipeline - 1 else 0
    trained, trained_experts = (work.adapters_of_layer * sum(own), 0) if work.adapters_of_layer else (dense, experts)
    added = trained if work.adapters_of_layer else 0
    shard = -(-trained // split.optimizer) - (-trained_experts // split.expert_optimizer)
    widths = work.widths
    weights = widths.compute * (dense + experts + added)
    masters = _masters(widths, split) * shard
    state = work.states * widths.state * shard
    gradients = widths.accumulation * (trained + trained_experts)
    layer, activated = _activations(stage, model, split, own, work)
    return Memory(
        stage=stage,
        parameters=dense + experts + added,
        weights=weights,
        gradients=gradients if work.micro_batches > 1 else widths.accumulation * shard,
        masters=masters,
        optimizer_state=state,
        activations=activated,
        total=weights + masters + state + _peak(work, gradients, shard, layer, activated),
    )


def _peak(work: Work, gradients: int, shard: int, layer: int, activated: int) -> int:
    """What comes on top of weights, masters and state.

    With several micro-batches the gradients of the earlier ones are there while the last one's activations are. With
    one, gradients come as activations go: its peak is at the begin of the backward pass, or at its end. The optimizer
    step needs its part of the gradient and one temporary tensor of that size.
    """
    accumulation = work.widths.accumulation
    backward = gradients + activated
    if work.micro_batches == 1:
        backward = max(activated, accumulation * shard + layer)
    return max(backward, (accumulation + work.widths.state) * shard)


def _masters(widths: Widths, split: Sharding) -> int:
    """Bytes per owned parameter. Without masters a process that owns a part updates a copy of that part."""
    return widths.masters or (widths.compute if split.data * split.context > 1 else 0)


def _activations(stage: int, model: Architecture, split: Sharding, own: Sequence[int], work: Work) -> tuple[int, int]:
    """While one layer's backward pass runs, with that layer alone; and the most of the stage."""
    layer = activations.of_layer(model, split, work.tokens, work.widths.compute, work.parts)
    kept = layer.kept * max(own) * activations.in_flight(stage, split, work.micro_batches)
    kept += activations.of_pipeline(stage, model, split, work.tokens, work.widths.compute, work.micro_batches)
    alone = layer.kept + layer.again
    if stage < split.pipeline - 1:
        return alone, kept + layer.again
    head = activations.of_head(model, split, work.tokens, work.widths.compute)
    return alone, kept + max(layer.again, head.kept + head.again)
