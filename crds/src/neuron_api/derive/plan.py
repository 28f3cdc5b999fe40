"""Everything that follows from a configuration before a start, for `kubectl neuron plan` and its tests.

The columns are those of the oracle `tests/data/configs/expected.tsv`, in its order. A value that is unknown is None,
and a finding says why.
"""

from dataclasses import dataclass, field, replace
from typing import Final

from neuron_api.config import TrainingConfig
from neuron_api.findings.finding import Finding
from neuron_api.findings.registry import make_finding
from neuron_api.platform import environment
from neuron_api.platform.devices import NO_DEVICES, Devices, devices
from neuron_api.platform.instances import generation_of
from neuron_api.platform.topology import Topology
from neuron_api.resource.accelerator import Accelerator

from . import alignment, parameters, sharding
from .architecture import Architecture
from .hardware import Hardware, compiler_of
from .memory import MemoryEstimate, checkpoint_bytes, process_memory, trained_parameters

Column = str | int | bool | None

COLUMNS: Final = (
    "model_source", "devices", "num_nodes", "world", "tp", "pp", "vpp", "cp", "ep", "dp", "micro", "global",
    "num_microbatches", "layers", "layers_per_stage", "kv_heads", "kv_heads_source", "kv_replicator",
    "kv_rep_effective", "zero1", "sequence_parallel", "precision", "max_steps", "total_samples", "save_every",
    "saves_before_end", "warmup", "constant", "optimizer", "scheduler", "strategy", "data_module", "hardware",
)  # fmt: skip
"""Names of the columns that a plan has for every configuration."""


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """The sizes, environment and memory of a job."""

    columns: dict[str, Column]
    """Named as the columns of expected.tsv, without `config`."""
    hardware: Hardware
    devices: Devices | None
    """None on CPU, and if the instance type cannot hold the processes."""
    environment: dict[str, str]
    """Environment variables that follow from the configuration."""
    memory: MemoryEstimate | None
    """Of the process that needs most."""
    device_memory: int | None
    """Device memory available to a process, in bytes; None on CPU."""
    parameters: int | None
    """Of the whole model, without adapters."""
    trained_parameters: int | None
    """Those that are trained: with LoRA the adapters', with the biases that it trains."""
    checkpoint_bytes: int | None
    has_adapters: bool
    """LoRA."""
    rows_per_sample: int
    """2 for pairs."""
    reference: alignment.Reference | None
    """Of DPO."""
    compiler: str | None
    """The backend of `torch.compile` that each layer, embedding, head and loss are compiled with; None: eager."""
    findings: tuple[Finding, ...] = field(default=())
    """Findings about the platform; those about the configuration come from the loader."""


def derive(config: TrainingConfig, hardware: Hardware, model: Architecture | None) -> TrainingPlan:
    """Return the plan; without a `model` (its `config.json` is not available) the values that need it are None."""
    topology = Topology.from_config(config)
    requested, findings = _requested(config, hardware)
    estimated = process_memory(config, topology, model, is_native=hardware.is_native) if model else None
    available = _device_memory(hardware, requested)
    return TrainingPlan(
        columns=_columns(config, topology, hardware, model),
        hardware=hardware,
        devices=requested,
        environment={variable.name: variable.value for variable in environment.derive(config)},
        memory=estimated,
        device_memory=available,
        parameters=parameters.total(model) if model else None,
        trained_parameters=trained_parameters(config, model) if model else None,
        checkpoint_bytes=checkpoint_bytes(config, model) if model else None,
        has_adapters=alignment.adapters(config) is not None,
        rows_per_sample=alignment.rows_per_sample(alignment.strategy(config)),
        reference=alignment.reference(config),
        compiler=compiler_of(config, _device(hardware)),
        findings=(*findings, *_memory_findings(estimated, available)),
    )


def _device(hardware: Hardware) -> str:
    """Return PyTorch's name of the device."""
    if hardware.instance_type is None:
        return hardware.name
    generation = generation_of(hardware.instance_type)
    return generation.stack.device if generation else Accelerator.NEURON.device


def _requested(config: TrainingConfig, hardware: Hardware) -> tuple[Devices | None, tuple[Finding, ...]]:
    """Return the devices of a pod, and findings about them."""
    if hardware.name == "cuda":
        return replace(NO_DEVICES, gpus=config.trainer.devices), ()
    if hardware.instance_type is None:
        return None, ()
    return devices(config, hardware.instance_type, hardware.stated)


def _columns(
    config: TrainingConfig, topology: Topology, hardware: Hardware, model: Architecture | None
) -> dict[str, Column]:
    return {
        "model_source": config.model_source,
        **_processes(config, topology),
        **_layers(config, model),
        "zero1": config.distributed_strategy.zero1,
        "sequence_parallel": config.distributed_strategy.sequence_parallel,
        "precision": config.precision.type,
        **_schedule(config),
        "strategy": (strategy := alignment.strategy(config)),
        "data_module": alignment.data_module(config.model_source, strategy),
        "hardware": hardware.name,
    }


def _processes(config: TrainingConfig, topology: Topology) -> dict[str, Column]:
    strategy = config.distributed_strategy
    return {
        "devices": config.trainer.devices,
        "num_nodes": config.trainer.num_nodes,
        "world": topology.world_size,
        "tp": topology.tensor_parallel,
        "pp": topology.pipeline_parallel,
        "vpp": strategy.virtual_pipeline_model_parallel_size or 1,
        "cp": topology.context_parallel,
        "ep": strategy.expert_model_parallel_size,
        "dp": topology.data_parallel or None,
        "micro": config.data.micro_batch_size,
        "global": config.data.global_batch_size,
        "num_microbatches": topology.micro_batches or None,
    }


def _layers(config: TrainingConfig, model: Architecture | None) -> dict[str, Column]:
    strategy = config.distributed_strategy
    layers = model.layers if model else config.model.num_layers
    split = layers and sharding.layers_per_stage(
        layers,
        strategy.pipeline_model_parallel_size,
        strategy.virtual_pipeline_model_parallel_size or 1,
        config.model.pipeline_cuts or (),
    )
    kv_heads = model.kv_heads if model else None
    from_file = config.model_source == "hf"
    source = f"{model.published_name} config.json" if model and from_file else "model.num_kv_heads"
    return {
        "layers": layers,
        "layers_per_stage": sharding.run_lengths(split) if split else None,
        "kv_heads": kv_heads,
        "kv_heads_source": source if kv_heads else None,
        "kv_replicator": strategy.kv_replicator,
        "kv_rep_effective": _copies(config, model),
    }


def _copies(config: TrainingConfig, model: Architecture | None) -> int | None:
    tensor = config.distributed_strategy.tensor_model_parallel_size
    return sharding.replication(model.kv_heads if model else None, tensor, sharding.requested_replication(config))


def _schedule(config: TrainingConfig) -> dict[str, Column]:
    steps, manager, optim = config.trainer.max_steps, config.exp_manager, config.model.optim
    params = manager.checkpoint_callback_params
    return {
        "max_steps": steps,
        "total_samples": total_samples(steps, config.data.global_batch_size),
        "save_every": params.every_n_train_steps,
        "saves_before_end": saves_before_end(steps, params.every_n_train_steps if manager.writes_checkpoints else 0),
        "warmup": optim.sched.warmup_steps,
        "constant": optim.sched.constant_steps,
        "optimizer": optim.name,
        "scheduler": optim.sched.name,
    }


def _device_memory(hardware: Hardware, requested: Devices | None) -> int | None:
    instance = hardware.instance
    if instance is None or requested is None or requested.lnc is None:
        return None
    return instance.chip_memory * requested.lnc // instance.cores_per_chip


def _memory_findings(estimated: MemoryEstimate | None, available: int | None) -> tuple[Finding, ...]:
    if estimated is None or available is None or estimated.total <= available:
        return ()
    gib = 2**30
    return (
        make_finding(
            3007,
            "distributed_strategy",
            f"a process is estimated to need {estimated.total / gib:.1f} GiB of device memory and has "
            f"{available / gib:.1f} GiB.",
        ),
    )


def total_samples(max_steps: int, global_batch: int) -> int | None:
    """Return the samples until `max_steps`; None if the steps are unbounded (-1)."""
    return max_steps * global_batch if max_steps > 0 else None


def saves_before_end(max_steps: int, every: int) -> int | None:
    """Return the periodic checkpoints until `max_steps`; 0 if only the final save leaves one, None if unbounded."""
    if max_steps <= 0:
        return None
    return max_steps // every if every > 0 else 0
