"""A checkpoint by several threads: the same numbers in it, and no error of any thread is lost."""

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from bounds import BOUND
from neuron_trainer.checkpoint import shards, staging, verify, writer
from neuron_trainer.checkpoint.staging import CheckpointTensor, Stage, Threads
from neuron_trainer.errors import CheckpointError

from .test_saving import snapshot, stored

pytestmark = pytest.mark.usefixtures("one_process")


@pytest.mark.parametrize(("cores", "processes", "expected"), [(2, "1", 2), (2, "2", 1), (1, "8", 1), (128, "32", 4)])
def test_processes_of_a_node_share_its_cores(
    cores: int, processes: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    assert staging.available_threads() == expected


def test_every_item_is_done_once_and_by_several_threads() -> None:
    together, done = threading.Barrier(3), []

    def work(item: int) -> None:
        if item < 3:
            together.wait(BOUND)  # nobody passes alone
        done.append(item)

    Threads(3).each(work, range(100))
    assert sorted(done) == list(range(100))


@pytest.mark.parametrize("count", [1, 3])
def test_the_error_of_any_thread_is_raised_when_all_have_ended(count: int) -> None:
    together, running = threading.Barrier(count), set()

    def work(item: int) -> None:
        running.add(item)
        together.wait(BOUND)
        running.remove(item)
        if item == count - 1:
            raise OSError(errno.EIO, "of one of them")

    with pytest.raises(OSError, match="of one of them"):
        Threads(count).each(work, range(count))
    assert not running


def test_a_stage_holds_the_numbers_whatever_their_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "_PIECE", 7)
    monkeypatch.setattr(staging, "available_threads", lambda: 3)
    plain = torch.randn(10, 9)
    of_the_run = {
        "plain": plain,
        "turned": torch.randn(9, 10).T,
        "every other": torch.randn(40)[::2],
        "number": torch.tensor(3.5),
        "empty": torch.empty(0, 4),
    }
    stage = Stage()
    for _ in range(2):
        found = stage.copy({name: CheckpointTensor(tensor, tensor.dtype) for name, tensor in of_the_run.items()})
        for name, tensor in of_the_run.items():
            torch.testing.assert_close(found[name], tensor, rtol=0, atol=0)
        plain.add_(1)
    cast = Stage().copy({"cast": CheckpointTensor(plain, torch.bfloat16)})["cast"]
    torch.testing.assert_close(cast, plain.to(torch.bfloat16), rtol=0, atol=0)


TENSORS = {f"model.{n}": torch.arange(10_000.0 * (n + 1)) for n in range(7)}


@pytest.fixture
def three_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """For each process."""
    monkeypatch.setattr(shards, "_PART", 1)
    monkeypatch.setattr(shards, "available_threads", lambda: 3)


@pytest.mark.usefixtures("three_files")
def test_a_large_checkpoint_is_several_files_of_about_one_size(tmp_path: Path, trained: Path) -> None:
    writer.write(snapshot(tmp_path, TENSORS, trained))
    folder = tmp_path / "x.ckpt"
    verify(folder)
    found = stored(folder)
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in TENSORS.items())
    sizes = [path.stat().st_size for path in folder.glob("*.distcp")]
    assert len(sizes) == 3
    assert max(sizes) < 1.2 * min(sizes)


def test_a_small_one_is_one_file(tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "available_threads", lambda: 3)
    writer.write(snapshot(tmp_path, TENSORS, trained))
    assert [path.name for path in (tmp_path / "x.ckpt").glob("*.distcp")] == ["__0_0.distcp"]


@pytest.mark.usefixtures("three_files")
@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("when", ["opened", "written"])
def test_no_file_may_fail(
    number: int, when: str, tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str) -> None:
        if name == f"__0_{number}_0.distcp":
            raise OSError(errno.ENOSPC, "No space left on device")

    write, opened = shards._Remembering.write, Path.open

    def write_or_fail(file: Any, data: Any) -> int:
        if when == "written":
            fail(Path(file._file.name).name)
        return write(file, data)

    def open_or_fail(path: Path, *arguments: Any, **named: Any) -> Any:
        if when == "opened":
            fail(path.name)
        return opened(path, *arguments, **named)

    monkeypatch.setattr(shards._Remembering, "write", write_or_fail)
    monkeypatch.setattr(Path, "open", open_or_fail)
    with pytest.raises(CheckpointError, match=r"rank 0: \[Errno 28\] No space left on device"):
        writer.write(snapshot(tmp_path, TENSORS, trained))
    assert not (tmp_path / "x.ckpt").exists()
