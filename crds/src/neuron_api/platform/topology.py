"""The shape of a job: world size, parallel dimensions, micro-batches.

Pure arithmetic. Symbols: docs/reference/behaviours.md.
"""

from dataclasses import dataclass

from neuron_api.config import TrainingConfig
from neuron_api.findings.finding import Finding
from neuron_api.findings.registry import make_finding


@dataclass(frozen=True, slots=True)
class Topology:
    """The arrangement of a job's processes."""

    num_nodes: int
    processes_per_node: int
    tensor_parallel: int
    pipeline_parallel: int
    context_parallel: int
    data_parallel: int
    """0 if the world cannot be divided."""
    micro_batches: int
    """Per optimizer step and data-parallel process; 0 if the batch cannot be divided."""

    @property
    def world_size(self) -> int:
        """Return the number of all processes."""
        return self.num_nodes * self.processes_per_node

    @classmethod
    def from_config(cls, config: TrainingConfig, processes_per_node: int | None = None) -> "Topology":
        """Return the topology of a configuration; impossible divisions give 0 (see `check`)."""
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


def _exact(total: int, part: int) -> int:
    return total // part if part and total % part == 0 else 0


def check(topology: Topology, config: TrainingConfig) -> tuple[Finding, ...]:
    """Return findings about divisions that do not come out even."""
    findings: list[Finding] = []
    parts = topology.tensor_parallel * topology.pipeline_parallel * topology.context_parallel
    if topology.data_parallel == 0:
        findings.append(
            make_finding(
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
        findings.append(
            make_finding(
                2302,
                "data.global_batch_size",
                f"{data.global_batch_size} is not a multiple of micro_batch_size {data.micro_batch_size} x "
                f"data-parallel size "
                f"{topology.data_parallel} = {step}.",
                f"Use {f'{below} or ' if below else ''}{below + step}, or change micro_batch_size.",
            )
        )
    if topology.tensor_parallel > topology.processes_per_node and topology.num_nodes > 1:
        findings.append(
            make_finding(
                2303,
                "distributed_strategy.tensor_model_parallel_size",
                f"a tensor-parallel group of {topology.tensor_parallel} does not fit into a node of "
                f"{topology.processes_per_node} processes; its collectives cross the network.",
                "Use a size that divides trainer.devices.",
            )
        )
    return tuple(findings)
