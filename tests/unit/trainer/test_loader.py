"""Rows are dealt out as torch's own distributed sampler does, and a position is found again."""

from pathlib import Path
from typing import Any

import pytest
from datasets import load_from_disk
from torch.utils.data import BatchSampler, DistributedSampler

from distributed.tiny import write_rows
from neuron_trainer.data.loader import StepLoader, Steps
from neuron_trainer.data.rows import Rows
from neuron_trainer.parallel import Share

BATCH = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """45 rows: five global batches of 8 and a rest."""
    made = tmp_path_factory.mktemp("rows") / "data"
    write_rows(made, rows=45, length=6)
    return made


def dealt(folder: Path, rank: int, size: int, consumed: int = 0, workers: int = 0) -> list[list[list[int]]]:
    """Token ids of each step of one epoch."""
    loader = StepLoader(Steps(Rows(str(folder)), BATCH, Share(rank, size)), BATCH, lambda: consumed, workers)
    return [batch["input_ids"].tolist() for batch in loader]


@pytest.mark.parametrize("size", [1, 2, 4])
def test_each_process_gets_the_rows_of_a_distributed_sampler(size: int, folder: Path) -> None:
    rows: Any = load_from_disk(str(folder))
    for rank in range(size):
        sampler = DistributedSampler(rows, num_replicas=size, rank=rank, shuffle=False, drop_last=True)
        batches = BatchSampler(sampler, BATCH // size, drop_last=True)
        wanted = [[rows[index]["input_ids"] for index in batch] for batch in batches]
        assert dealt(folder, rank, size) == wanted


@pytest.mark.parametrize("step", range(6))
def test_a_position_continues_where_it_was(step: int, folder: Path) -> None:
    whole = dealt(folder, 1, 2) * 2
    assert dealt(folder, 1, 2, consumed=step * BATCH) == whole[step : 5 if step < 5 else 10]


def test_a_position_counts_over_epochs(folder: Path) -> None:
    assert dealt(folder, 0, 1, consumed=(3 * 5 + 2) * BATCH) == dealt(folder, 0, 1)[2:]


def test_the_length_is_that_of_a_whole_epoch_wherever_it_begins(folder: Path) -> None:
    steps = Steps(Rows(str(folder)), BATCH, Share(0, 1))
    assert len(StepLoader(steps, BATCH, lambda: 3 * BATCH)) == 5


def test_iterating_draws_no_random_numbers(folder: Path) -> None:
    import torch

    before = torch.get_rng_state()
    dealt(folder, 0, 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_labels_are_the_targets_of_their_places(folder: Path) -> None:
    batch = Steps(Rows(str(folder)), BATCH, Share(1, 2))[2]
    rows: Any = load_from_disk(str(folder))
    assert batch["labels"].tolist() == [[*rows[index]["labels"][1:], -100] for index in range(17, 24, 2)]
