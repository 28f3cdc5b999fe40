"""The stages of a pipeline on a lazy device, each played alone: both sides call the same transfers, in one
order; so none waits for another that never comes.

It does not prove that the transfers run: the other stages are not there (torch.testing's fake process group).
"""

from typing import Any

import pytest
import torch

from distributed.splits import SPLITS
from neuron_trainer.parallel.xla import axes, backend, schedule

from . import lazy

SPLIT = "pipeline 2, tensor 2, sequence"
PAIRS = ((0, 2), (1, 3))
MICRO_BATCHES, SHAPE = 4, torch.Size((2, 16, 32))


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is run, and nobody is asked for shapes; torch_xla leaves out an all-reduce of one device, unless told."""
    make = axes._group
    monkeypatch.setattr(axes, "_group", lambda ranks, backend=None: make(ranks))
    monkeypatch.setattr(backend, "end_graph", lambda _: None)
    monkeypatch.setattr(schedule, "end_graph", lambda _: None)
    monkeypatch.setattr(backend, "staggered", lambda work, *_: work())
    monkeypatch.setattr(schedule.Pipeline, "_shapes_of", lambda *_: [(SHAPE, torch.float32)])
    monkeypatch.setattr("torch.distributed.send_object_list", lambda *_, **__: None)
    monkeypatch.setenv("XLA_ALWAYS_ALLREDUCE", "1")


Transfer = tuple[tuple[tuple[int, ...], ...], torch.Size, torch.dtype]


def transfers(rank: int, monkeypatch: pytest.MonkeyPatch) -> list[Transfer]:
    """What a program of each transfer of a step is made of, in the order in which a process calls them: the replica
    groups of its sum, a shape and a dtype."""
    found: list[Transfer] = []
    add = schedule.PairSums.sum

    def watched(link: Any, tensor: torch.Tensor, stage: int) -> torch.Tensor:
        found.append((link._pairs[stage].groups, tensor.shape, tensor.dtype))
        return add(link, tensor, stage)

    with monkeypatch.context() as patch, lazy.played(rank, SPLITS[SPLIT].world):
        patch.setattr(schedule.PairSums, "sum", watched)
        lazy.program("mistral", SPLIT)
    return found


def test_all_processes_run_the_same_transfers_in_the_same_order(monkeypatch: pytest.MonkeyPatch) -> None:
    lazy.load()
    called = [transfers(rank, monkeypatch) for rank in range(SPLITS[SPLIT].world)]
    assert called[0] == [(PAIRS, SHAPE, torch.float32)] * 2 * MICRO_BATCHES, "states and gradients of each micro-batch"
    assert called[0] == called[1] == called[2] == called[3]
