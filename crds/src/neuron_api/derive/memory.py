"""Device memory of the process that needs most, in bytes; docs/design/009-memory-estimate.md has the formulas.

An estimate for the training itself. Not counted: the runtime, compiled graphs, buffers of collectives, fragmentation.

`estimate` has the formulas; `process_memory` and those after it take its inputs from a configuration: how the model is
split, and the work of a process in a step.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass

from neuron_api.config import PeftConfig, TrainingConfig
from neuron_api.platform.topology import Topology

from . import activations, adapters, alignment, checkpoint, parameters, precision, sharding
from .activations import RecomputeUnit
from .adapters import Trained
from .architecture import Architecture
from .parameters import Parameters, count
from .precision import Widths
from .sharding import Sharding, block_sizes, replication, requested_replication


@dataclass(frozen=True, slots=True)
class StepWork:
    """The work of one process in a step, apart from how the model is split."""

    tokens: int
    """Of a micro-batch on one process: rows x sequence / CP."""
    micro_batches: int
    states: int
    """Tensors per parameter that the optimizer keeps."""
    widths: Widths
    recomputed: Set[RecomputeUnit]
    """Parts of a layer that are recomputed in the backward pass."""
    peft: PeftConfig | None = None
    """LoRA: only its adapters are trained; None: everything is."""
    has_reference: bool = False
    """A second, frozen model gives the reference's log-probabilities in each step (DPO)."""


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes on one process at the peak of a step."""

    stage: int
    """Pipeline stage of the process."""
    parameters: int
    """Number of elements, not bytes."""
    trained: int
    """Number of elements of them that are trained."""
    weights: int
    """Trained and frozen ones, in the dtype of computing."""
    frozen: int
    """Bytes of the weights that are not trained: they have no gradients, masters and state."""
    reference: int
    """The second model of DPO without precomputed log-probabilities."""
    gradients: int
    masters: int
    optimizer_state: int
    activations: int
    total: int
    """Minimum that the step needs; see `_peak`."""


def estimate(model: Architecture, split: Sharding, blocks: Sequence[int], work: StepWork) -> MemoryEstimate | None:
    """Return the estimate of the pipeline stage that needs most; None if the vocabulary is unknown.

    `blocks` are the layers of each block.
    """
    counted = count(model, split)
    if counted is None:
        return None
    stages = (stage_memory(stage, model, split, blocks, work, counted) for stage in range(split.pipeline))
    return max(stages, key=lambda memory: memory.total)


def stage_memory(
    stage: int, model: Architecture, split: Sharding, blocks: Sequence[int], work: StepWork, counted: Parameters
) -> MemoryEstimate:
    """Return the estimate of a process of one pipeline stage."""
    layers = blocks[stage :: split.pipeline]
    dense, experts = counted.of_layers(sum(layers), model.experts)
    dense += counted.embedding if stage == 0 else 0
    dense += counted.head if stage == split.pipeline - 1 else 0
    added, trained, trained_experts = 0, dense, experts
    if work.peft is not None:
        chosen = _adapters(stage, model, split, blocks, work.peft)
        added, trained, trained_experts = chosen.adapters, chosen.total, 0
    shard = -(-trained // split.optimizer) - (-trained_experts // split.expert_optimizer)
    widths = work.widths
    weights = widths.compute * (dense + experts + added)
    reference = widths.compute * (dense + experts) if work.has_reference else 0
    masters = _masters(widths, split) * shard
    state = work.states * widths.state * shard
    gradients = widths.accumulation * (trained + trained_experts)
    layer, activated = _activations(stage, model, split, layers, work)
    return MemoryEstimate(
        stage=stage,
        parameters=dense + experts + added,
        trained=trained + trained_experts,
        weights=weights,
        frozen=weights - widths.compute * (trained + trained_experts),
        reference=reference,
        gradients=gradients if work.micro_batches > 1 else widths.accumulation * shard,
        masters=masters,
        optimizer_state=state,
        activations=activated,
        total=weights + reference + masters + state + _peak(work, gradients, shard, layer, activated),
    )


def _adapters(stage: int, model: Architecture, split: Sharding, blocks: Sequence[int], peft: PeftConfig) -> Trained:
    """Return what a process of a stage trains with LoRA."""
    layers, is_last = sharding.spans(blocks)[stage :: split.pipeline], stage == split.pipeline - 1
    return adapters.trained(model, peft, split, layers, is_first=stage == 0, is_last=is_last)


def _peak(work: StepWork, gradients: int, shard: int, layer: int, activated: int) -> int:
    """Return the bytes on top of weights, masters and state.

    With several micro-batches the gradients of earlier ones exist together with the last one's activations. With one,
    gradients replace activations: the peak is at the beginning or at the end of the backward pass. The optimizer step
    needs its shard of the gradient and one temporary tensor of that size.
    """
    accumulation = work.widths.accumulation
    backward = gradients + activated
    if work.micro_batches == 1:
        backward = max(activated, accumulation * shard + layer)
    return max(backward, (accumulation + work.widths.state) * shard)


def _masters(widths: Widths, split: Sharding) -> int:
    """Return the bytes per owned parameter. Without masters a process that owns a shard updates a copy of it."""
    return widths.masters or (widths.compute if split.data * split.context > 1 else 0)


def _activations(
    stage: int, model: Architecture, split: Sharding, layers: Sequence[int], work: StepWork
) -> tuple[int, int]:
    """Return the bytes while one layer's backward pass runs, with that layer alone, and the peak of the stage."""
    layer = activations.layer_bytes(model, split, work.tokens, work.widths.compute, work.recomputed, work.peft)
    in_flight = activations.in_flight(stage, split, work.micro_batches)
    saved = (layer.saved * max(layers) - (layer.unsaved if stage == 0 else 0)) * in_flight
    saved += activations.pipeline_bytes(stage, model, split, work.tokens, work.widths.compute, work.micro_batches)
    layer_peak = layer.saved + layer.backward
    if stage < split.pipeline - 1:
        return layer_peak, saved + layer.backward
    head = activations.head_bytes(model, split, work.tokens, work.widths.compute, work.peft)
    return layer_peak, saved + max(layer.backward, head.saved + head.backward)


def sharding_of(config: TrainingConfig, topology: Topology, model: Architecture, *, is_native: bool) -> Sharding:
    """Return the parallel sizes, for the backend `native` (`is_native`) or `xla`."""
    strategy = config.distributed_strategy
    return Sharding(
        tensor=topology.tensor_parallel,
        sequence=topology.tensor_parallel if strategy.sequence_parallel else 1,
        pipeline=topology.pipeline_parallel,
        virtual=strategy.virtual_pipeline_model_parallel_size or 1,
        context=topology.context_parallel,
        expert=strategy.expert_model_parallel_size,
        data=topology.data_parallel,
        is_zero1=strategy.zero1,
        keeps_gathered=is_native,
        kv_copies=replication(model.kv_heads, topology.tensor_parallel, requested_replication(config)) or 1,
    )


def process_memory(
    config: TrainingConfig, topology: Topology, model: Architecture, *, is_native: bool
) -> MemoryEstimate | None:
    """Return the memory of the process that needs most; None if layers, batch or vocabulary cannot be divided."""
    if not topology.micro_batches:
        return None
    split = sharding_of(config, topology, model, is_native=is_native)
    blocks = block_sizes(model.layers, split.pipeline * split.virtual, config.model.pipeline_cuts or ())
    if blocks is None:
        return None
    strategy = alignment.strategy(config)
    rows = config.data.micro_batch_size * alignment.rows_per_sample(strategy)
    work = StepWork(
        tokens=rows * alignment.sequence_length(config, strategy) // split.context,
        micro_batches=topology.micro_batches,
        states=len(config.model.optim.states),
        widths=precision.widths(config),
        recomputed=activations.recomputed_units(config.model),
        peft=alignment.adapters(config),
        has_reference=alignment.reference(config) is alignment.Reference.SECOND_MODEL,
    )
    return estimate(model, split, blocks, work)


def checkpoint_bytes(config: TrainingConfig, model: Architecture) -> int | None:
    """Return the bytes of one checkpoint; None if the vocabulary is unknown."""
    total = parameters.total(model)
    if total is None:
        return None
    states, stored = len(config.model.optim.states), checkpoint.stored_widths(config)
    if (peft := alignment.adapters(config)) is None:
        return checkpoint.size(total, total, states, stored)
    trained = adapters.whole(model, peft)
    base = total - trained.biases if peft.save_lora_base else 0
    adapted = trained.biases if peft.merge_lora else trained.total
    return checkpoint.size(base + adapted, trained.total, states, stored)


def trained_parameters(config: TrainingConfig, model: Architecture) -> int | None:
    """Return the parameters of the whole model that are trained; None if the vocabulary is unknown."""
    peft = alignment.adapters(config)
    if peft is None or model.vocabulary is None:
        return parameters.total(model)
    return adapters.whole(model, peft).total
