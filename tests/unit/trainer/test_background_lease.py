"""The lock of the compile cache: held by a thread, waited for without blocking, and no error when it is lost."""

import subprocess
import sys
from pathlib import Path

import pytest

from bounds import BOUND
from neuron_trainer.storage import lease
from neuron_trainer.storage.background_lease import BackgroundLease
from neuron_trainer.storage.lease import DirectoryLease, newest


def held(folder: Path, name: str) -> BackgroundLease:
    return BackgroundLease(DirectoryLease(folder, lease.myself(job_name=name, job_uid=name)))


def test_the_second_waits_until_the_first_has_left(tmp_path: Path) -> None:
    with held(tmp_path, "two") as outer:
        assert outer.wait(BOUND)
    with held(tmp_path, "one") as first:
        assert first.wait(BOUND)
        with held(tmp_path, "two") as second:
            assert not second.wait(0.0)
            first.__exit__(None, None, None)
            assert second.wait(BOUND) and second.holder is None


def test_the_holder_that_is_waited_for_is_named(tmp_path: Path) -> None:
    with held(tmp_path, "one") as first:
        assert first.wait(BOUND)
        with held(tmp_path, "two") as second:
            while second.holder is None:
                assert not second.wait(0.01)
            assert "of the job one" in str(second.holder)


def test_a_holder_that_was_killed_is_not_waited_for(tmp_path: Path) -> None:
    code = f"""
import os
from pathlib import Path
from neuron_trainer.storage import lease
lease.DirectoryLease(Path({str(tmp_path)!r}), lease.myself(job_name="dead", job_uid="dead")).acquire()
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    with held(tmp_path, "next") as lock:
        assert lock.wait(BOUND) and lock.holder is None
    current = newest(tmp_path)
    assert current is not None and current.number == 2


@pytest.mark.parametrize("name", ["gone", "gone/deeper"])
def test_a_folder_that_cannot_be_locked_is_told(name: str, tmp_path: Path) -> None:
    with held(tmp_path / name, "one") as lock:
        assert lock.wait(BOUND) and isinstance(lock.failure, FileNotFoundError)
