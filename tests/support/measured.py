"""One optimizer step of the trainer's own modules, its peak of memory beside the estimate of it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from allocations import Allocations
from distributed.tiny import MODEL, config
from neuron_api.config import TrainingConfig
from neuron_api.derive import alignment, architecture, memory
from neuron_api.derive.alignment import Reference
from neuron_api.derive.memory import MemoryEstimate
from neuron_api.loading.loader import load_text
from neuron_api.platform.topology import Topology
from neuron_trainer import optim, parallel
from neuron_trainer.loop.step import Gradients
from neuron_trainer.models.family import Family

SEQUENCE = 128
SMALL = {
    **MODEL,
    "hidden_size": 128,
    "intermediate_size": 352,
    "num_hidden_layers": 6,
    "vocab_size": 2048,
    "max_position_embeddings": SEQUENCE,
}
"""1.6 million parameters: tensors are large against what is left out of the formulas, a step takes 0.2 s."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Bytes of this process."""

    peak: int
    """Most that weights, gradients, optimizer and activations took together in a step."""
    at_rest: int
    """Weights and optimizer state between steps."""
    estimate: MemoryEstimate

    @property
    def ratio(self) -> float:
        """Estimate over measurement."""
        return self.estimate.total / self.peak


EXPERTS = {**SMALL, "model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2}
"""4.5 million; an expert is as wide as the other's MLP."""


def values(
    folder: Path, micro_batches: int, data_parallel: int, model: dict[str, Any] = SMALL, **changes: Any
) -> dict[str, Any]:
    """A configuration of the small model with batches of two."""
    (folder / "small.json").write_text(json.dumps(model))
    batch = {"data__micro_batch_size": 2, "data__global_batch_size": 2 * micro_batches * data_parallel}
    path = {"model__model_config": str(folder / "small.json"), "model__encoder_seq_length": SEQUENCE}
    return config(folder, folder, **batch, **path, **changes)


def _batch(config: TrainingConfig, samples: int) -> dict[str, Tensor]:
    """Samples of tokens that all count, or pairs of them."""
    pairs = (2,) if alignment.preferences(config) is not None else ()
    ids = torch.randint(0, SMALL["vocab_size"], (samples, *pairs, SEQUENCE))
    values = {"input_ids": ids, "labels": ids.clone()}
    if alignment.reference(config) is Reference.PRECOMPUTED:
        values["reference_log_probs"] = torch.zeros(samples, 2)
    return values


def step(configuration: dict[str, Any]) -> Measured:
    """The second step of a run is measured (needs a process group); the first has made what is made once and stays."""
    loaded = load_text(yaml.safe_dump(configuration))
    assert loaded.config is not None, loaded.findings
    wanted = loaded.config
    topology = Topology.from_config(wanted)
    backend = parallel.create(wanted, topology, torch.device("cpu"))
    backend.build(Family.from_config(wanted))
    optimizer = optim.for_run(wanted, backend.parameters())
    gradients = Gradients(backend, 1.0)
    batch = _batch(wanted, wanted.data.micro_batch_size * topology.micro_batches)
    if alignment.reference(wanted) in (Reference.SECOND_MODEL, Reference.WITHOUT_ADAPTERS):
        backend.keep_reference()

    def run() -> None:
        gradients.compute(batch)
        optimizer.step()
        backend.end_step(0)

    states = [tensor for state in optimizer.state.values() for tensor in state.values()]
    parameters = (*backend.parameters(), *backend.frozen_parameters())
    allocations = Allocations([*(parameter.leaf for parameter in parameters), *states])
    at_rest = allocations.now
    with allocations:
        run()
        allocations.restart()
        run()
    model = json.loads(Path(str(wanted.model.model_config_path)).read_text())
    shape, _ = architecture.from_json(model, wanted.model)
    assert shape is not None
    estimate = memory.process_memory(wanted, topology, shape, is_native=True)
    assert estimate is not None
    return Measured(allocations.peak, at_rest, estimate)
