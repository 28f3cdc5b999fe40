"""Rows are dealt out as torch's own distributed sampler does, and a position is found again."""

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, DatasetDict, load_from_disk
from torch.utils.data import BatchSampler, DistributedSampler

from bounds import BOUND
from distributed.tiny import write_rows
from neuron_trainer.data import loader, source
from neuron_trainer.data.loader import StepLoader, Steps
from neuron_trainer.data.rows import Rows
from neuron_trainer.data.samples import Part
from neuron_trainer.parallel import Share

from .conftest import alone, typed

pytestmark = pytest.mark.slow

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


class Slow(Rows):
    """Remembers which batch was begun, and lets it be read only when it may be."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.begun: list[int] = []
        self.may_read = threading.Semaphore(0)
        self.has_begun = threading.Semaphore(0)

    def take(self, indices: Any) -> Any:
        self.begun.append(indices[0])
        self.has_begun.release()
        assert self.may_read.acquire(timeout=BOUND)
        return super().take(indices)


def test_the_next_batch_is_read_while_a_step_computes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "_WORTH", -1.0)  # every read takes long
    rows = Slow(str(folder))
    batches = iter(StepLoader(Steps(rows, BATCH, Share(0, 1)), BATCH, lambda: 0))
    rows.may_read.release()
    next(batches)
    assert rows.has_begun.acquire(timeout=BOUND)
    assert rows.has_begun.acquire(timeout=BOUND), "the second is begun before it is asked for"
    assert rows.begun == [0, 8], "and no further one"
    for _ in range(9):
        rows.may_read.release()
    assert len(list(batches)) == 4


@pytest.mark.parametrize(("takes_long", "ahead"), [(True, [False, True, True, False, True]), (False, [False] * 5)])
def test_only_reads_that_take_long_are_handed_to_a_thread_and_timed_again_after_some(
    takes_long: bool, ahead: list[bool], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []

    class Watched(Rows):
        def take(self, indices: Any) -> Any:
            threads.append(threading.get_ident())
            return super().take(indices)

    monkeypatch.setattr(loader, "_WORTH", -1.0 if takes_long else 60.0)
    monkeypatch.setattr(loader, "_BATCHES", 2)
    found = [
        batch["input_ids"].tolist()
        for batch in StepLoader(Steps(Watched(str(folder)), BATCH, Share(0, 1)), BATCH, lambda: 0)
    ]
    assert found == dealt(folder, 0, 1)
    assert [one != threading.get_ident() for one in threads] == ahead


def test_a_failure_to_read_is_the_step_s_own(folder: Path) -> None:
    class Broken(Rows):
        def take(self, indices: Any) -> Any:
            if indices[0] >= 16:
                raise OSError("the volume is gone")
            return super().take(indices)

    batches = iter(StepLoader(Steps(Broken(str(folder)), BATCH, Share(0, 1)), BATCH, lambda: 0))
    assert len([next(batches), next(batches)]) == 2
    with pytest.raises(OSError, match="the volume is gone"):
        next(batches)


def formatted(rows: Any, indices: list[int]) -> dict[str, Any]:
    """As `datasets` itself gives them."""
    return {name: rows.with_format("numpy")[indices][name].tolist() for name in ("input_ids", "labels")}


@pytest.mark.parametrize(("count", "shards"), [(45, 1), (2500, 3)])
def test_mapped_matrices_have_the_rows_of_the_data_set(count: int, shards: int, tmp_path: Path) -> None:
    write_rows(tmp_path / "rows", rows=count, length=6)
    data: Any = load_from_disk(str(tmp_path / "rows"))
    data.save_to_disk(str(tmp_path / "saved"), num_shards=shards)
    rows = Rows(str(tmp_path / "saved"))
    assert rows._matrices is not None
    assert (len(rows), rows.columns) == (count, tuple(data.column_names))
    for indices in ([0], [count - 1, 3, 3, 17], list(range(5, 40))):
        assert {name: value.tolist() for name, value in rows.take(indices).items()} == formatted(data, indices)


def uneven(data: Any) -> Any:
    return Dataset.from_dict({name: [[1], [2, 3]] for name in ("input_ids", "labels", "attention_mask")})


@pytest.mark.parametrize("other", [
    uneven, lambda data: data.shuffle(seed=1), lambda data: data.select(range(20, 30)),
    lambda data: data.with_format("torch", columns=["labels", "input_ids"]),
    lambda data: DatasetDict({"test": data, "train": data.select([4, 2, 7])}),
], ids=["uneven", "shuffled", "selected", "formatted", "several splits"])  # fmt: skip
def test_every_kind_of_data_set_has_the_rows_that_datasets_reads(other: Any, folder: Path, tmp_path: Path) -> None:
    other(load_from_disk(str(folder))).save_to_disk(str(tmp_path / "data"))
    wanted: Any = load_from_disk(str(tmp_path / "data"))
    wanted = wanted["train"] if isinstance(wanted, DatasetDict) else wanted
    rows = Rows(str(tmp_path / "data"))
    assert (len(rows), rows.columns) == (len(wanted), tuple(wanted.column_names))
    for index in range(len(rows)):
        found = {name: value.tolist() for name, value in rows.take([index]).items()}
        assert found == formatted(wanted, [index])


def test_the_usual_data_set_needs_no_import_of_datasets(folder: Path) -> None:
    """With pandas it would be a third of what a launcher imports."""
    code = "import sys; from neuron_trainer.data.rows import Rows; Rows(sys.argv[1]); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    assert not {"datasets", "pandas"} & {*done.stdout.split()}


def test_shuffled_rows_are_a_permutation_of_each_epoch_for_every_split(tiny: Path, tmp_path: Path) -> None:
    """`data.shuffle_rows`: of the seed and the epoch alone. Looked at: 1, 2 and 4 processes, a resume in the middle,
    another seed, validation (never shuffled), the default (the file's order)."""
    values = alone(tiny, tmp_path / "log", data__shuffle_rows=True, data__val_dir=str(tiny / "data"))

    def order(size: int, consumed: int = 0, part: Part = "train", **changes: Any) -> list[Any]:
        config = typed({**values, **changes})
        shares = [source.steps(config, part, source.samples(config, part, is_builder=True), Share(rank, size))
                  for rank in range(size)]  # fmt: skip
        steps = range(consumed // BATCH, 2 * len(shares[0]))
        return [[sorted(ids for share in shares for ids in share[step]["input_ids"].tolist())] for step in steps]

    whole = order(1)
    assert order(2) == order(4) == whole
    assert order(2, consumed=24) == whole[3:]
    file = order(1, data={**values["data"], "shuffle_rows": False})
    assert whole != file
    half = len(whole) // 2
    for epoch in (whole[:half], whole[half:]):
        assert sorted(row for (step,) in epoch for row in step) == sorted(
            row for (step,) in file[:half] for row in step
        )
    assert whole[:half] != whole[half:]
    assert file[:half] == file[half:]
    assert order(1, seed=8) != whole
    assert order(1, part="validation") == file
