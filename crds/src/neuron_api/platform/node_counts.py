"""Legal numbers of nodes of one configuration: what a job with `spec.elasticPolicy` may shrink and grow to.

Only data parallelism may change, so a number is legal if the other parallel sizes divide its processes, if
`micro_batch_size` x data-parallel size divides `global_batch_size`, and if the configuration passes every check with
it. A configuration in which another key follows `trainer.num_nodes` by interpolation would be another training.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from neuron_api.config import TrainingConfig
from neuron_api.findings.finding import Finding, errors_of

from .topology import Topology

Read = Callable[[int], tuple[TrainingConfig | None, Iterable[Finding]]]
"""Loads the configuration with a number of nodes, and checks it for the platform."""


@dataclass(frozen=True, slots=True)
class NodeCounts:
    """The numbers from a minimum to a maximum."""

    legal: tuple[int, ...]
    """In ascending order."""
    obstacle: str = ""
    """Why a number that the division permits is not legal, if one is not."""


def as_override(count: int) -> str:
    """Return the override with which the launcher in the pod loads the configuration."""
    return f"trainer.num_nodes={count}"


def with_nodes(config: TrainingConfig, count: int) -> TrainingConfig:
    """Return the configuration with another number of nodes."""
    return config.model_copy(update={"trainer": config.trainer.model_copy(update={"num_nodes": count})})


def legal_counts(config: TrainingConfig, counts: Iterable[int], read: Read) -> NodeCounts:
    """Return which of these numbers are legal. `config` is valid with its own number."""
    legal: list[int] = []
    obstacle = ""
    for count in counts:
        if not _divides(config, count):
            continue
        problem = _problem(config, count, read)
        obstacle = obstacle or problem
        if not problem:
            legal.append(count)
    return NodeCounts(tuple(legal), obstacle)


def _divides(config: TrainingConfig, count: int) -> bool:
    topology = Topology.from_config(with_nodes(config, count))
    return topology.data_parallel > 0 and topology.micro_batches > 0


def _problem(config: TrainingConfig, count: int, read: Read) -> str:
    if count == config.trainer.num_nodes:
        return ""
    loaded, findings = read(count)
    if errors := errors_of(findings):
        return f"with {count} nodes: {errors[0]}"
    if loaded != with_nodes(config, count):
        return f"with {count} nodes another key changes, which follows trainer.num_nodes by interpolation."
    return ""
