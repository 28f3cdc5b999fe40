"""Copies of a process's state in shared memory: complete or absent, of one run, and the newest that all have."""

import multiprocessing
import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bounds import BOUND
from neuron_trainer.checkpoint.memory import slot as slots
from neuron_trainer.checkpoint.memory.agreement import MemoryChoice, choose
from neuron_trainer.checkpoint.memory.copies import MemoryCopies, slot_path, steps_of
from neuron_trainer.checkpoint.memory.slot import CopyIdentity, Slot, TensorLayout, header_of
from neuron_trainer.checkpoint.staging import CheckpointTensor
from neuron_trainer.errors import CheckpointError, InputError, ProgressLostError
from neuron_trainer.ipc.worker_channel import WorkerChannel

IDENTITY = CopyIdentity("run", "hash", "1.0", 0, 1, 1, "cpu")
Tensors = Mapping[str, CheckpointTensor]


def _tensors(value: float = 0.0, size: int = 700_000) -> Tensors:
    """Shapes and dtypes that a run has: a matrix, one of bf16 that is not in order in memory, a statistic, nothing."""
    shapes = {"model.a": torch.full((size,), value), "model.b": torch.full((8, 6), value, dtype=torch.bfloat16).T,
              "optim.a.rows": torch.tensor(value), "model.none": torch.empty(0)}  # fmt: skip
    return {name: CheckpointTensor(tensor, tensor.dtype) for name, tensor in shapes.items()}


def _slot(path: Path) -> Slot:
    return Slot(path, TensorLayout(_tensors()))


def test_a_copy_is_read_bit_for_bit(tmp_path: Path) -> None:
    slot, target = _slot(tmp_path / "copy"), _tensors()
    slot.write(IDENTITY, 7, _tensors(1.5), b"state")
    assert slot.read(target) == b"state"
    assert all(torch.equal(item.local, _tensors(1.5)[name].local) for name, item in target.items())
    header = header_of(tmp_path / "copy")
    assert header is not None and (header.step, header.identity) == (7, IDENTITY)


def _die_in_piece(path: str, number: int) -> None:
    torch.set_num_threads(1)  # a fork has none of the threads that its parent has started
    plain = slots._bytes
    seen = 0

    def count(tensor: torch.Tensor) -> memoryview:
        nonlocal seen
        seen += 1
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return plain(tensor)

    slots._bytes = count
    _slot(Path(path)).write(IDENTITY, 8, _tensors(2.5), b"state")


@pytest.mark.parametrize("piece", [1, 2, 4, 5])
def test_a_kill_in_the_middle_of_a_copy_leaves_nothing_that_is_taken(tmp_path: Path, piece: int) -> None:
    _slot(tmp_path / "rank-0.0").write(IDENTITY, 6, _tensors(0.5), b"")
    _slot(tmp_path / "rank-0.1").write(IDENTITY, 7, _tensors(1.5), b"")
    process = multiprocessing.get_context("fork").Process(target=_die_in_piece, args=(tmp_path / "rank-0.0", piece))
    process.start()
    process.join(BOUND)
    process.kill()
    assert process.exitcode == -signal.SIGKILL
    assert steps_of(tmp_path, IDENTITY) == [7], "the other file still has the copy before"


def test_damage_is_found_and_the_copy_taken_away(tmp_path: Path) -> None:
    copies = MemoryCopies(tmp_path, IDENTITY, _tensors, is_async=False)
    copies.begin(3, {"global_step": 3})
    with slot_path(tmp_path, 0, 0).open("r+b") as file:
        file.seek(5_000)
        file.write(b"\1")
    with pytest.raises(CheckpointError, match="is corrupt"):
        copies.read(3)
    assert steps_of(tmp_path, IDENTITY) == [], "the next start does without it"


@pytest.mark.parametrize(
    "change", [{"run_id": "other"}, {"config_hash": "other"}, {"world_size": 2}, {"processes_per_node": 2},
               {"release": "2.0"}, {"accelerator": "cuda"}],
)  # fmt: skip
def test_a_copy_of_another_run_split_or_release_is_not_taken(tmp_path: Path, change: dict[str, object]) -> None:
    _slot(tmp_path / "rank-0.0").write(IDENTITY, 6, _tensors(), b"")
    assert steps_of(tmp_path, IDENTITY) == [6]
    assert steps_of(tmp_path, replace(IDENTITY, **change)) == []  # type: ignore[arg-type]


def test_two_files_take_turns_and_a_start_keeps_only_its_own_step(tmp_path: Path, one_process: None) -> None:
    copies = MemoryCopies(tmp_path, IDENTITY, _tensors, is_async=True)
    for step in (2, 3, 4):
        copies.begin(step, {})
        copies.end_copy()
    assert steps_of(tmp_path, IDENTITY) == [3, 4]
    again = MemoryCopies(tmp_path, IDENTITY, _tensors, is_async=True)
    again.keep_only(3)
    assert steps_of(tmp_path, IDENTITY) == [3], "4 may differ from what is trained now"
    again.begin(4, {})
    again.end_copy()
    assert steps_of(tmp_path, IDENTITY) == [3, 4], "the step that is trained from is overwritten last"
    again.keep_only(0)
    assert steps_of(tmp_path, IDENTITY) == []


def test_a_file_of_another_model_does_not_stay_as_large(tmp_path: Path) -> None:
    _slot(tmp_path / "copy").write(IDENTITY, 1, _tensors(), b"")
    before = (tmp_path / "copy").stat().st_size
    Slot(tmp_path / "copy", TensorLayout(_tensors(size=10)))
    assert (tmp_path / "copy").stat().st_size < before / 2


def test_memory_that_is_not_there_is_an_error_of_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(InputError, match=r"the copies .* need 5\.6 MB, and .*No space left on device.*shared memory"):
        MemoryCopies(tmp_path, IDENTITY, _tensors, is_async=False)


@pytest.mark.parametrize(
    ("own", "held", "stored", "chosen"),
    [
        ([[4, 5], [4, 5]], [{}, {}], 0, MemoryChoice(5)),
        ([[4, 5], [3, 4]], [{}, {}], 0, MemoryChoice(4)),
        ([[4, 5], []], [{}, {}], 2, MemoryChoice()),
        ([[4, 5], [4, 5]], [{}, {}], 5, MemoryChoice(5)),
        ([[4, 5], [4, 5]], [{}, {}], 6, MemoryChoice()),
        ([[5], [4]], [{}, {}], 0, MemoryChoice()),
        ([[4, 5], []], [{1: [4, 5]}, {}], 2, MemoryChoice(5, (1,))),
        ([[], [4, 5]], [{}, {0: [3, 4]}], 2, MemoryChoice(4, (0,))),
        ([[], []], [{1: [4]}, {0: [4]}], 0, MemoryChoice(4, (0, 1))),
    ],
)
def test_the_newest_step_that_all_have_is_taken_unless_storage_is_newer(
    own: list[list[int]], held: list[dict[int, list[int]]], stored: int, chosen: MemoryChoice
) -> None:
    assert choose(own, held, stored) == chosen


def test_steps_that_neither_storage_nor_memory_has_reach_the_launcher(tmp_path: Path) -> None:
    channel = WorkerChannel(tmp_path)
    assert channel.progress_loss() is None
    channel.report_progress_loss("12 steps were finished")
    assert isinstance(channel.progress_loss(), ProgressLostError)
