"""The shape of a job: world size, parallel dimensions, micro-batches; nodes and devices from the instance type.

Pure arithmetic. Symbols and rules: config-keys.md (head and A1, A2), operator.md §3.1.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from .config import TrainingConfig
from .findings import Finding
from .registry import found as finding

_GIB: Final = 2**30


@dataclass(frozen=True, slots=True)
class InstanceType:
    """What one node of an EC2 instance type has."""

    name: str
    chips: int
    """`aws.amazon.com/neuron` devices."""
    cores_per_chip: int
    """Physical NeuronCores of a chip."""
    default_lnc: int
    """Physical cores per logical core when `trainer.lnc` is not set."""
    max_lnc: int
    efa: int
    """`vpc.amazonaws.com/efa` interfaces."""
    chip_memory: int
    """Bytes of device memory of a chip."""

    def logical_cores(self, lnc: int) -> int:
        """Most processes that a node can hold."""
        return self.chips * self.cores_per_chip // lnc


INSTANCE_TYPES: Final[Mapping[str, InstanceType]] = MappingProxyType(
    {
        t.name: t
        for t in (
            InstanceType("trn1.2xlarge", 1, 2, 1, 1, 0, 32 * _GIB),
            InstanceType("trn1.32xlarge", 16, 2, 1, 1, 8, 32 * _GIB),
            InstanceType("trn1n.32xlarge", 16, 2, 1, 1, 16, 32 * _GIB),
            InstanceType("trn2.3xlarge", 1, 8, 2, 2, 1, 96 * _GIB),
            InstanceType("trn2.48xlarge", 16, 8, 2, 2, 16, 96 * _GIB),
            # The number of EFA interfaces is not published; 16 is that of trn2.48xlarge (operator.md §3.1).
            InstanceType("trn2u.48xlarge", 16, 8, 2, 2, 16, 96 * _GIB),
        )
    }
)
"""operator.md §3.1, with its sources."""


@dataclass(frozen=True, slots=True)
class Topology:
    """How the processes of a job are arranged."""

    num_nodes: int
    processes_per_node: int
    tensor_parallel: int
    pipeline_parallel: int
    context_parallel: int
    data_parallel: int
    """0 when the world cannot be divided."""
    micro_batches: int
    """Per optimizer step and data-parallel process; 0 when the batch cannot be divided."""

    @property
    def world_size(self) -> int:
        """All processes of the job."""
        return self.num_nodes * self.processes_per_node

    @classmethod
    def of(cls, config: TrainingConfig, processes_per_node: int | None = None) -> "Topology":
        """The topology that the configuration asks for; impossible divisions give 0 (see `check`)."""
        strategy, data = config.distributed_strategy, config.data
        processes = processes_per_node or config.trainer.devices
        world = processes * config.trainer.num_nodes
        tp, pp = strategy.tensor_model_parallel_size, strategy.pipeline_model_parallel_size
        cp = strategy.context_parallel_size
        dp = _exact(world, tp * pp * cp)
        return cls(
            num_nodes=config.trainer.num_nodes,
            processes_per_node=processes,
            tensor_parallel=tp,
            pipeline_parallel=pp,
            context_parallel=cp,
            data_parallel=dp,
            micro_batches=_exact(data.global_batch_size, data.micro_batch_size * dp),
        )


@dataclass(frozen=True, slots=True)
class Devices:
    """What one pod asks its node for."""

    neuron: int
    """Chips (`aws.amazon.com/neuron`)."""
    efa: int
    lnc: int | None


def _exact(total: int, part: int) -> int:
    return total // part if part and total % part == 0 else 0


def check(topology: Topology, config: TrainingConfig) -> tuple[Finding, ...]:
    """The divisions that must come out even."""
    found: list[Finding] = []
    parts = topology.tensor_parallel * topology.pipeline_parallel * topology.context_parallel
    if topology.data_parallel == 0:
        found.append(
            finding(
                2301,
                "distributed_strategy.tensor_model_parallel_size",
                f"the {topology.world_size} processes (trainer.devices {topology.processes_per_node} x "
                f"trainer.num_nodes "
                f"{topology.num_nodes}) cannot be divided into groups of {parts} (tensor "
                f"{topology.tensor_parallel} x pipeline {topology.pipeline_parallel} x context "
                f"{topology.context_parallel}).",
                "Change trainer.devices, trainer.num_nodes or the parallel sizes so that the product divides the "
                "processes.",
            )
        )
    elif topology.micro_batches == 0:
        data = config.data
        step = data.micro_batch_size * topology.data_parallel
        below = data.global_batch_size // step * step
        found.append(
            finding(
                2302,
                "data.global_batch_size",
                f"{data.global_batch_size} is not a multiple of micro_batch_size {data.micro_batch_size} x "
                f"data-parallel size "
                f"{topology.data_parallel} = {step}.",
                f"Use {f'{below} or ' if below else ''}{below + step}, or change micro_batch_size.",
            )
        )
    if topology.tensor_parallel > topology.processes_per_node and topology.num_nodes > 1:
        found.append(
            finding(
                2303,
                "distributed_strategy.tensor_model_parallel_size",
                f"a tensor-parallel group of {topology.tensor_parallel} does not fit into a node of "
                f"{topology.processes_per_node} processes; its collectives cross the network.",
                "Use a size that divides trainer.devices.",
            )
        )
    return tuple(found)


def devices(config: TrainingConfig, instance_type: str | None) -> tuple[Devices | None, tuple[Finding, ...]]:
    """Chips and EFA interfaces of one pod on Trainium, or what is wrong."""
    if instance_type is None:
        return None, (
            finding(
                3001,
                "spec.platform.instanceType",
                "it is not set, so the devices of a node are not known.",
                f"Set it to one of {', '.join(INSTANCE_TYPES)}, or spec.platform.accelerator to cpu.",
            ),
        )
    instance = INSTANCE_TYPES.get(instance_type)
    if instance is None:
        return None, (
            finding(
                3002,
                "spec.platform.instanceType",
                f"{instance_type!r} is not a known Trainium instance type.",
                f"Use one of {', '.join(INSTANCE_TYPES)}.",
            ),
        )
    lnc = config.trainer.lnc or instance.default_lnc
    if lnc > instance.max_lnc:
        return None, (
            finding(
                3003,
                "trainer.lnc",
                f"{lnc} is not possible on {instance.name}, whose cores cannot be joined.",
                "Use 1, or leave it out.",
            ),
        )
    processes, cores = config.trainer.devices, instance.logical_cores(lnc)
    if processes > cores:
        return None, (
            finding(
                3004,
                "trainer.devices",
                f"{processes} processes per node are more than the {cores} logical NeuronCores of {instance.name} "
                f"({instance.chips} chips x {instance.cores_per_chip} cores / lnc {lnc}).",
                f"Use at most {cores}; more processes come from more nodes (trainer.num_nodes).",
            ),
        )
    chips = math.ceil(processes * lnc / instance.cores_per_chip)
    whole = chips == instance.chips
    efa = instance.efa if whole else 0
    findings: tuple[Finding, ...] = ()
    if not whole and config.trainer.num_nodes > 1:
        findings = (
            finding(
                3005,
                "trainer.devices",
                f"{chips} of {instance.chips} chips per node over several nodes leave its EFA interfaces unused.",
                "Use whole nodes for multi-node training.",
            ),
        )
    if config.trainer.num_nodes > 1 and instance.efa == 0:
        return None, (
            finding(
                3006,
                "trainer.num_nodes",
                f"{instance.name} has no EFA interface and cannot join a multi-node job.",
                "Use trainer.num_nodes 1 or a larger instance type.",
            ),
        )
    return Devices(neuron=chips, efa=efa, lnc=lnc), findings
