"""Copies of a run's state in memory (`spec.memoryCheckpoints`): which runs can have them, and what they take."""

from typing import Final

from neuron_api.config import TrainingConfig
from neuron_api.derive import alignment, architecture
from neuron_api.derive.architecture import Architecture
from neuron_api.derive.memory import MemoryEstimate, process_memory
from neuron_api.findings.finding import Finding, error
from neuron_api.platform.topology import Topology
from neuron_api.published_models import catalog
from neuron_api.resource.spec import MemoryCheckpoints

KEY: Final = "spec.memoryCheckpoints"
_FILES: Final = 2
"""Of a process, written in turns."""
_BESIDE: Final = 2 << 20
"""Bytes of a file beside the tensors: header, Lightning's state, and what is left of pages."""


def check(copies: MemoryCheckpoints, config: TrainingConfig) -> list[Finding]:
    """Return why a run cannot have them."""
    findings = []
    if copies.replicas and config.trainer.num_nodes == 1:
        message = f"replicas is {copies.replicas}, and the job has no other node to hold them (trainer.num_nodes 1)."
        findings.append(error(f"{KEY}.replicas", message, "Use 0."))
    if not config.exp_manager.resume_if_exists:
        message = "copies in memory are for a run that resumes, and exp_manager.resume_if_exists is False."
        findings.append(error(KEY, message, "Set exp_manager.resume_if_exists to True, or remove the field."))
    if alignment.adapters(config) is not None:
        message = "copies in memory do not hold the base of adapters (model_alignment_strategy.peft)."
        findings.append(error(KEY, message, "Remove the field, and save checkpoints more often: they are small."))
    return findings


def node_bytes(copies: MemoryCheckpoints, topology: Topology, memory: MemoryEstimate) -> int:
    """Return the shared memory of a node: two files of each of its processes, and as many of each peer's."""
    state = (memory.masters or memory.weights) + memory.optimizer_state
    return topology.processes_per_node * (1 + copies.replicas) * _FILES * (state + _BESIDE)


def of_config(
    copies: MemoryCheckpoints, config: TrainingConfig, *, is_native: bool, model: Architecture | None = None
) -> int | None:
    """Return the same for a configuration; None where the sizes of its model are not known.

    `model`: by default what the configuration itself says, or the published model that it names.
    """
    model = model or _architecture(config)
    topology = Topology.from_config(config)
    memory = process_memory(config, topology, model, is_native=is_native) if model is not None else None
    return node_bytes(copies, topology, memory) if memory is not None else None


def of_processes(config: TrainingConfig, model: Architecture | None = None) -> int | None:
    """Return the bytes that the processes of a node need at least in host memory where they compute there; None where
    the sizes of the model are not known."""
    model = model or _architecture(config)
    topology = Topology.from_config(config)
    memory = process_memory(config, topology, model, is_native=True) if model is not None else None
    return topology.processes_per_node * memory.total if memory is not None else None


def _architecture(config: TrainingConfig) -> Architecture | None:
    if config.model_source == "megatron":
        return architecture.from_megatron(config)
    published = catalog.find(config.model.model_config_path or "")
    return architecture.from_json(dict(published.config), config.model)[0] if published is not None else None
