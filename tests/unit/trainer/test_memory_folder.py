"""The launcher's folder in shared memory: whose it is, how long it stays, and whether its copies fit."""

import fcntl
import os
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from neuron_trainer.checkpoint.memory.slot import CopyHeader, CopyIdentity, packed
from neuron_trainer.errors import InputError
from neuron_trainer.launcher import memory_folder
from neuron_trainer.launcher.memory_folder import MemoryFolder, remove_orphans
from neuron_trainer.preflight.shared_memory import check

IDENTITY = CopyIdentity("run", "hash", "1.0", 0, 1, 1, "cpu")


def test_the_folder_is_there_as_long_as_its_launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = MemoryFolder(tmp_path / "log", "uid", 0, tmp_path)
    monkeypatch.setattr("neuron_trainer.launcher.memory_folder._PATIENCE", 0.0)
    with folder:
        assert folder.path.stat().st_mode & 0o777 == 0o700
        with pytest.raises(InputError, match="held by another launcher"):
            MemoryFolder(tmp_path / "log", "uid", 0, tmp_path).__enter__()
    assert not folder.path.exists()


@pytest.mark.parametrize(
    ("stored", "is_over", "stays"),
    [(4, False, True), (5, False, False), (6, False, False), (4, True, False), (None, False, True)],
)
def test_a_launcher_that_ends_early_leaves_the_steps_that_only_memory_has(
    tmp_path: Path, stored: int | None, is_over: bool, stays: bool
) -> None:
    """Kind: a stop while processes load, a budget that is used up, storage that does not answer (None)."""

    def newest() -> int:
        if stored is None:
            raise OSError("no answer")
        return stored

    with MemoryFolder(tmp_path / "log", "uid", 0, tmp_path, newest) as folder:
        (folder.path / "rank-0.0").write_bytes(packed(CopyHeader(IDENTITY, 5, "l", 4096, 0, "c")))
        folder.is_over = is_over
    assert folder.path.exists() is stays


def test_a_dead_launchers_folder_waits_for_its_run_and_is_removed_by_others(tmp_path: Path) -> None:
    dead = tmp_path / MemoryFolder(tmp_path / "log", "uid", 0, tmp_path).path.name
    dead.mkdir()
    (dead / "owner").touch()
    (dead / "rank-0.0").touch()
    assert remove_orphans(tmp_path) == [], "its run may start again"
    long_ago = time.time() - 601
    for path in (dead / "owner", dead / "rank-0.0", dead):
        os.utime(path, (long_ago, long_ago))
    with MemoryFolder(tmp_path / "log", "uid", 0, tmp_path) as same:
        assert (same.path / "rank-0.0").exists(), "the same run takes it over, however old it is"
        for path in (dead / "owner", dead / "rank-0.0", dead):
            os.utime(path, (long_ago, long_ago))
        assert remove_orphans(tmp_path) == [], "its launcher lives"
    dead.mkdir()
    os.utime(dead, (long_ago, long_ago))
    with MemoryFolder(tmp_path / "other", "uid", 0, tmp_path):
        assert not dead.exists()


def _dead(place: Path, run: str, node: int, seconds: float = 601) -> Path:
    """A folder that a launcher has left so many seconds ago."""
    folder = MemoryFolder(place / run, "uid", node, place).path
    folder.mkdir()
    then = time.time() - seconds
    for path in (folder / "owner", folder / "rank-0.0"):
        path.touch()
        os.utime(path, (then, then))
    os.utime(folder, (then, then))
    return folder


def test_nodes_of_a_run_on_one_machine_leave_each_other_their_copies(tmp_path: Path) -> None:
    """Kind: a machine that was down for longer than orphans live; the launchers start one after the other."""
    own, other, foreign = _dead(tmp_path, "log", 0), _dead(tmp_path, "log", 1), _dead(tmp_path, "another", 0)
    MemoryFolder(tmp_path / "log", "uid", 0, tmp_path).sweep()
    assert own.exists() and other.exists()
    assert not foreign.exists()
    MemoryFolder(tmp_path / "log", "uid", 0, tmp_path).sweep(has_copies=False)
    assert not own.exists() and not other.exists(), "the field was taken away: nobody uses them again"


def test_a_run_that_has_nothing_to_do_leaves_nothing(tmp_path: Path) -> None:
    dead = _dead(tmp_path, "log", 0, seconds=1)
    folder = MemoryFolder(tmp_path / "log", "uid", 0, tmp_path)
    with MemoryFolder(tmp_path / "log", "uid", 0, tmp_path):
        folder.remove()
        assert dead.exists(), "its launcher lives"
    _dead(tmp_path, "log", 0, seconds=1)
    folder.remove()
    assert not dead.exists()
    folder.remove()


def test_a_launcher_waits_for_a_sweep_that_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = _dead(tmp_path, "log", 0, seconds=1)
    sweep = os.open(dead / "owner", os.O_RDWR)
    fcntl.flock(sweep, fcntl.LOCK_EX)
    monkeypatch.setattr(memory_folder.time, "sleep", lambda _: fcntl.flock(sweep, fcntl.LOCK_UN))
    with MemoryFolder(tmp_path / "log", "uid", 0, tmp_path) as folder:
        assert (folder.path / "rank-0.0").exists()
    os.close(sweep)


def test_a_folder_of_somebody_else_is_not_taken(tmp_path: Path) -> None:
    folder = MemoryFolder(tmp_path / "log", "uid", 0, tmp_path)
    (tmp_path / "elsewhere").mkdir()
    folder.path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"is not a directory of this user \(user id [0-9]+\)\. Remove it"):
        folder.__enter__()


@pytest.mark.parametrize(
    ("needed", "processes", "limit", "message"),
    [
        (10**17, 0, "max", r"need 100000\.0 TB of shared memory, and .* has"),
        (5 * 10**6, 0, "6000000", r"need 5\.0 MB, and the container may take 4\.0 MB more. Raise"),
        (4 * 10**6, 0, "6000000", ""),
        (
            3 * 10**6,
            2 * 10**6,
            "6000000",
            r"need 3\.0 MB and the processes 2\.0 MB, and the container may take 4\.0 MB more",
        ),
        (5 * 10**6, 10**9, "max", ""),
    ],
)
def test_a_pod_that_would_be_killed_for_memory_is_refused(
    tmp_path: Path, needed: int, processes: int, limit: str, message: str
) -> None:
    for name, content in {"max": limit, "current": "3000000", "stat": "anon 5\ninactive_file 1000000\n"}.items():
        (tmp_path / f"memory.{name}").write_text(f"{content}\n")
    with pytest.raises(InputError, match=message) if message else nullcontext():
        check(needed, processes, tmp_path / "folder", tmp_path)


@pytest.mark.parametrize(("limit", "is_refused"), [("6000000", True), ("9223372036854771712", False)])
def test_the_limit_of_the_older_control_groups_counts_as_well(tmp_path: Path, limit: str, is_refused: bool) -> None:
    (tmp_path / "memory").mkdir()
    files = {"limit_in_bytes": limit, "usage_in_bytes": "3000000", "stat": "cache 5\ntotal_inactive_file 1000000\n"}
    for name, content in files.items():
        (tmp_path / "memory" / f"memory.{name}").write_text(f"{content}\n")
    with pytest.raises(InputError, match=r"may take 4\.0 MB more") if is_refused else nullcontext():
        check(5 * 10**6, 0, tmp_path / "folder", tmp_path)
