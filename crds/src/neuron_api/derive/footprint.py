"""The inputs of the memory estimate from a configuration: how the model is split, and the work of a process in a
step."""

from neuron_api.config import TrainingConfig
from neuron_api.platform.topology import Topology

from . import adapters, alignment, checkpoint, memory, parameters, precision, recompute
from .architecture import Architecture
from .memory import MemoryEstimate, StepWork
from .sharding import Sharding, block_sizes, replication, requested_replication


def sharding(config: TrainingConfig, topology: Topology, model: Architecture, *, is_native: bool) -> Sharding:
    """Return the parallel sizes, for PyTorch's own parallelism (`is_native`) or neuronx-distributed's."""
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
    split = sharding(config, topology, model, is_native=is_native)
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
        recomputed=recompute.recomputed_units(config.model),
        peft=alignment.adapters(config),
        has_reference=alignment.reference(config) is alignment.Reference.SECOND_MODEL,
    )
    return memory.estimate(model, split, blocks, work)


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
