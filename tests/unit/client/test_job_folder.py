"""The folder of a local job: whole or not there at all, whatever else happens at the same time; every error in words.

The kind: what one process does while another one looks, starts or deletes, and what the system refuses. No trainer is
started here; tests/distributed/test_python_client.py does that.
"""

import errno
import fcntl
import json
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from bounds import BOUND
from neuron_api.loading.loader import load_text
from neuron_client import (
    BackendError,
    ClientError,
    JobExistsError,
    JobNotFoundError,
    NeuronTrainingClient,
    RequestError,
)
from neuron_client.local import backend as local
from neuron_client.local import job_folder, supervisor
from neuron_client.local.job_folder import JobFolder, Record

ROOT = Path(__file__).parents[3]
LAPTOP = ROOT / "examples" / "laptop.yaml"


def record(folder: Path) -> Record:
    return Record(time.time(), str(folder), (), str(folder / "run"), 10, "cpu")


@pytest.fixture
def job(tmp_path: Path) -> JobFolder:
    return JobFolder.create(tmp_path / "jobs" / "a", "name: a\n", record(tmp_path))


@pytest.fixture
def client(tmp_path: Path) -> NeuronTrainingClient:
    return NeuronTrainingClient(backend="local", folder=tmp_path / "jobs")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_appears_as_a_whole(job: JobFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(JobExistsError, match=r"there is a job a in .*: choose another name"):
        JobFolder.create(job.path, "", record(tmp_path))
    monkeypatch.setattr(supervisor, "write", full_disk)
    with pytest.raises(OSError, match="No space left"):
        JobFolder.create(tmp_path / "jobs" / "b", "", record(tmp_path))
    assert names(job.path.parent) == ["a"]


def full_disk(*_: object, **__: object) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_folder_that_is_no_job_is_named(tmp_path: Path, client: NeuronTrainingClient) -> None:
    (tmp_path / "jobs" / "a").mkdir(parents=True)
    (tmp_path / "jobs" / "a" / "notes").touch()
    with pytest.raises(BackendError, match="a exists and is no job: choose another name, or remove it"):
        JobFolder.create(tmp_path / "jobs" / "a", "", record(tmp_path))
    assert client.list() == ()
    (tmp_path / "jobs" / "a" / "notes").unlink()  # an empty one is in nobody's way
    assert JobFolder.create(tmp_path / "jobs" / "a", "", record(tmp_path)).exists


@pytest.mark.parametrize(
    "problem", [OSError(errno.EAGAIN, "Too many processes"), subprocess.CalledProcessError(1, "python")]
)
def test_a_trainer_that_cannot_be_started_is_an_error_of_the_client_and_leaves_no_job(
    client: NeuronTrainingClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise problem

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(subprocess, "run", refuse)
    with pytest.raises(BackendError, match=r"Too many processes|the trainer could not be started"):
        client.train(LAPTOP, name="a")
    assert names(tmp_path / "jobs") == []


def test_a_full_disk_is_an_error_of_the_client(client: NeuronTrainingClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(supervisor, "write", full_disk)
    with pytest.raises(BackendError, match="No space left on device"):
        client.train(LAPTOP, name="a")
    assert client.list() == ()


def test_a_start_directory_that_is_gone_is_named(job: JobFolder, client: NeuronTrainingClient, tmp_path: Path) -> None:
    gone = {**json.loads((job.path / "job.json").read_text()), "directory": str(tmp_path / "gone")}
    supervisor.write(job.path / "job.json", gone)
    with pytest.raises(
        BackendError, match=r"a was started in .*/gone, where relative paths .* no such directory: make it again"
    ):
        client.resume("a")


def test_a_look_neither_creates_a_lock_nor_hinders_a_start(job: JobFolder) -> None:
    assert not job.is_running
    assert "lock" not in names(job.path)
    (job.path / "lock").touch()
    is_held = threading.Event()

    def look() -> None:
        with (job.path / "lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            is_held.set()
            started.wait(0.05)

    started = threading.Event()
    looking = threading.Thread(target=look)
    looking.start()
    assert is_held.wait(BOUND)
    with job._locked():
        started.set()
        assert job.is_running
    looking.join()


def test_two_starts_are_one_run(job: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_folder, "_LOCK_SECONDS", 0.0)
    with job._locked(), pytest.raises(BackendError, match="a runs already"):
        job.start()
    with job._locked(), pytest.raises(BackendError, match="a runs already"):
        job.remove()
    assert names(job.path.parent) == ["a"]


def test_a_job_is_gone_before_its_first_file_is(
    job: JobFolder, client: NeuronTrainingClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    remove = job_folder.shutil.rmtree

    def look(path: Path) -> None:
        seen.append((client.list(), job.exists))
        remove(path)

    monkeypatch.setattr(job_folder.shutil, "rmtree", look)
    client.delete("a")
    assert seen == [((), False)]
    assert names(job.path.parent) == []
    for call in (client.get, client.delete, client.suspend, client.resume, client.events):
        with pytest.raises(JobNotFoundError, match="there is no job a"):
            call("a")


@pytest.mark.parametrize("moment", range(1, 12))
def test_a_job_that_is_deleted_while_it_is_read_is_not_found(
    job: JobFolder, client: NeuronTrainingClient, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """The folder vanishes before the n-th look at one of its files."""
    looks = 0
    read, exists = job_folder._read, JobFolder.exists.fget
    assert exists is not None

    def count() -> None:
        nonlocal looks
        looks += 1
        if looks == moment and exists(job):
            job.remove()

    monkeypatch.setattr(job_folder, "_read", lambda path: (count(), read(path))[1])
    monkeypatch.setattr(JobFolder, "exists", property(lambda self: (count(), exists(self))[1]))
    for call in (client.list, lambda: client.get("a"), lambda: client.events("a")):
        try:
            call()
        except JobNotFoundError:
            assert not exists(job)
    assert client.list() == ()


def test_a_record_of_another_release_is_named(job: JobFolder, client: NeuronTrainingClient) -> None:
    supervisor.write(job.path / "job.json", {"created": 1})
    with pytest.raises(BackendError, match=r"job\.json is not what this release writes: remove "):
        client.get("a")


@pytest.mark.parametrize(
    ("is_asked", "code", "phase"),
    [
        (True, -signal.SIGTERM, "Suspended"),  # before the trainer could handle it
        (True, 143, "Suspended"),
        (True, -signal.SIGKILL, "Failed"),
        (False, -signal.SIGTERM, "Failed"),
        (True, 0, "Succeeded"),
        (True, 2, "Failed"),
    ],
)
def test_a_run_that_ended_by_the_signal_that_suspend_sends_is_suspended(
    job: JobFolder, client: NeuronTrainingClient, is_asked: bool, code: int, phase: str
) -> None:
    supervisor.write(job.path / supervisor.LAUNCHER, {"pid": 1, "time": time.time()})
    supervisor.write(job.path / supervisor.END, {"code": int(code), "time": time.time()})
    if is_asked:
        supervisor.write(job.path / "stop.json", {"time": time.time()})
    assert client.get("a").phase == phase
    assert client.events("a")[-1].is_warning == (phase == "Failed")


@pytest.mark.parametrize(
    "name", ["runs #1", "a: b", "${oc.env:HOME}", "${x}", "tab\there", "ü😀", "a=b", "'q'", "a\\${b}"]
)
def test_the_log_directory_may_be_in_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    loaded = load_text(LAPTOP.read_text())
    assert loaded.config is not None
    own = tmp_path / name / "run"
    changes, log_dir = local._with_log_dir(loaded.config, (), own)
    again = load_text(LAPTOP.read_text(), changes, in_pod=True)  # as the trainer reads it
    assert log_dir == own
    assert again.config is not None, again.findings
    assert again.config.exp_manager.explicit_log_dir == str(own)


def test_a_folder_that_the_trainer_would_take_for_a_variable_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_text(LAPTOP.read_text())
    assert loaded.config is not None
    monkeypatch.setenv("USER", "me")
    with pytest.raises(RequestError, match="has a \\$ before the name of a variable"):
        local._with_log_dir(loaded.config, (), tmp_path / "$USER")
    assert issubclass(RequestError, ClientError)
