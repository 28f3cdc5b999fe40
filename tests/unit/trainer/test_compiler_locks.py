"""Locks that a killed compiler has left in the cache."""

import os
from pathlib import Path

import pytest

from neuron_trainer.compile_phase import compiler_locks
from neuron_trainer.storage import lease
from neuron_trainer.storage.lease import DirectoryLease


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """One with a graph, a lock of the compiler, and the folder of a phase that holds its own lock."""
    module = tmp_path / "neuronxcc-2.21" / "MODULE_1+a"
    module.mkdir(parents=True)
    (module / "model.neff").touch()
    (module / "model.hlo_module.pb.lock").touch()
    held(tmp_path, "own")
    return tmp_path


def held(cache: Path, name: str) -> DirectoryLease:
    """A fingerprint's folder, with the lock of a phase."""
    folder = cache / "fingerprints" / name
    folder.mkdir(parents=True)
    lock = DirectoryLease(folder, lease.myself())
    lock.acquire()
    return lock


def removed(cache: Path) -> list[str]:
    return [lock.name for lock in compiler_locks.remove(cache, cache / "fingerprints" / "own")]


def test_they_go_and_all_else_stays(cache: Path) -> None:
    assert removed(cache) == ["model.hlo_module.pb.lock"]
    assert [file.name for file in (cache / "neuronxcc-2.21" / "MODULE_1+a").iterdir()] == ["model.neff"]
    assert list((cache / "fingerprints" / "own").glob(".lock.*")), "the phase's own lock is another one"
    assert removed(cache) == []


def test_they_stay_while_another_phase_compiles_into_the_cache(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    other = held(cache, "other")
    assert removed(cache) == []
    assert "left alone, since process" in caplog.text
    other.release()
    assert removed(cache) == ["model.hlo_module.pb.lock"]


def test_a_phase_that_no_longer_renews_its_lock_does_not_count(cache: Path) -> None:
    past = held(cache, "other").path.stat().st_mtime - lease.LEASE_SECONDS - 1
    os.utime(cache / "fingerprints" / "other" / ".lock.1", (past, past))
    assert removed(cache) == ["model.hlo_module.pb.lock"]


def test_a_cache_that_is_gone_is_no_error(tmp_path: Path) -> None:
    assert compiler_locks.remove(tmp_path / "none", tmp_path / "none" / "own") == []
