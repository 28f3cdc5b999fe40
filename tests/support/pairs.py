"""The recorded pairs and records of `tests/data/alignment` as batches, and a run of them without loop or data set."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from neuron_api.config import AlignmentConfig, TrainingConfig
from neuron_trainer.parallel import ParallelBackend

RECORDED = Path(__file__).parents[1] / "data/alignment"
LENGTH = 64


def recorded(name: str) -> Any:
    """A recorded file."""
    return json.loads((RECORDED / name).read_text())


def row(asked: Sequence[int], answer: Sequence[int]) -> tuple[list[int], list[int]]:
    """Padded tokens, and targets: the label of the output at t in place t."""
    ids = [*asked, *answer]
    labels = [-100] * (len(asked) - 1) + list(answer)
    return ids + [0] * (LENGTH - len(ids)), labels + [-100] * (LENGTH - len(labels))


def pairs(indices: Sequence[int]) -> dict[str, Tensor]:
    """Recorded pairs as a batch: int64 [n, 2, S]."""
    every = recorded("pairs.json")["pairs"]
    rows = [[row(one["prompt_ids"], one[f"{name}_ids"]) for name in ("chosen", "rejected")]
            for one in (every[index] for index in indices)]  # fmt: skip
    ids = torch.tensor([[ids for ids, _ in both] for both in rows])
    return {"input_ids": ids, "labels": torch.tensor([[labels for _, labels in both] for both in rows])}


def records(indices: Sequence[int]) -> dict[str, Tensor]:
    """Recorded records as a batch: int64 [n, S]."""
    every = recorded("records.json")["records"]
    rows = [row(one["ids"][: one["asked"]], one["ids"][one["asked"] :]) for one in (every[index] for index in indices)]
    return {"input_ids": torch.tensor([ids for ids, _ in rows]), "labels": torch.tensor([labels for _, labels in rows])}


def aligned(config: TrainingConfig, **sections: dict[str, Any]) -> TrainingConfig:
    """A configuration with `model_alignment_strategy`."""
    return config.model_copy(update={"model_alignment_strategy": AlignmentConfig.model_validate(sections)})


def load(backend: ParallelBackend, name: str = "base") -> None:
    """Give a backend of one process recorded weights."""
    tensors = load_file(RECORDED / f"weights/{name}.safetensors")
    with torch.no_grad():
        for parameter in backend.parameters():
            parameter.leaf.copy_(tensors[parameter.name])


def train(
    config: TrainingConfig, backend: ParallelBackend, batches: Sequence[dict[str, Tensor]]
) -> Iterator[dict[str, float]]:
    """The numbers of each step: loss, gradient norm and metrics, before its update."""
    from neuron_trainer import optim
    from neuron_trainer.loop.step import Gradients

    gradients, optimizer = Gradients(backend, None), optim.for_run(config, backend.parameters())
    for step, batch in enumerate(batches):
        sums = gradients.compute(batch)
        optimizer.step()
        backend.end_step(step + 1)
        yield {"loss": sums.loss.item(), "grad_norm": sums.gradient_norm.item()} | {
            name: value.item() for name, value in sums.metrics.items()
        }
