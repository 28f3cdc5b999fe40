"""Checkpoints and the log directory on S3, by its protocol: a server on loopback."""

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import s3fs
from moto.server import ThreadedMotoServer

from neuron_api import contract
from neuron_trainer.checkpoint import catalog, complete, layout, retention, verify, writer
from neuron_trainer.errors import CheckpointError
from neuron_trainer.ipc.worker_channel import Start
from neuron_trainer.launcher import training
from neuron_trainer.launcher.checkpoint_selector import CheckpointSelector
from neuron_trainer.run_directory import log_dir
from neuron_trainer.storage import places

from .conftest import alone, train, typed
from .test_loop import numbers

pytestmark = [pytest.mark.usefixtures("one_process"), pytest.mark.slow]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[str]:
    """A bucket of its own for each test, found as in a pod: by the environment."""
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    name = f"bucket-{abs(hash(request.node.name))}"
    s3fs.S3FileSystem().mkdir(name)
    yield f"s3://{name}"
    s3fs.S3FileSystem.clear_instance_cache()


def renamed(*_: object, **__: object) -> None:
    raise AssertionError("an object store has no rename")


def test_a_run_saves_there_and_resumes_from_there(
    bucket: str, tiny: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("rename", "mv", "move", "_mv_file"):
        monkeypatch.setattr(s3fs.S3FileSystem, name, renamed, raising=False)
    values = alone(tiny, tmp_path / "log", trainer__max_steps=6)
    values["exp_manager"]["async_checkpointing"] = True
    params = values["exp_manager"]["checkpoint_callback_params"]
    params |= {"every_n_train_steps": 2, "save_top_k": 2, "save_last": True, "dirpath": f"{bucket}/runs/ckpt-v2"}
    assert numbers(train(values)) == numbers(trained)
    place = places.place(params["dirpath"])
    assert [(one.step, layout.is_last(one.path)) for one in complete(place)] == [(6, False), (6, True), (4, False)]
    assert not catalog.incomplete(place)
    for one in complete(place):
        verify(one.path)
    layout.remove(complete(place)[0].path)
    layout.remove(complete(place)[0].path)
    chosen = CheckpointSelector(typed(values), tmp_path / "log", "").choose().checkpoint
    assert chosen is not None
    assert chosen.startswith(f"{bucket}/runs/ckpt-v2/tiny--step=4-")
    shutil.rmtree(tmp_path / "log")
    assert numbers(train(values, Start(1, chosen))) == numbers(trained)[4:]


def test_a_log_directory_there_has_the_lines_of_all_starts(
    bucket: str, tiny: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    values = alone(tiny, tmp_path, trainer__max_steps=4)
    del values["exp_manager"]["explicit_log_dir"]
    values["exp_manager"]["exp_dir"] = f"{bucket}/experiments/"
    values["exp_manager"]["checkpoint_callback_params"]["every_n_train_steps"] = 2
    folder = train(values)
    assert log_dir.address(typed(values)) == f"{bucket}/experiments/tiny"
    place = places.place(f"{bucket}/experiments/tiny")
    assert (place / contract.METRICS_FILE).read_bytes() == (folder / contract.METRICS_FILE).read_bytes()
    assert [one.step for one in complete(place / contract.CHECKPOINTS_DIR)] == [4, 2]
    shutil.rmtree(folder)  # the pod is gone
    values["trainer"]["max_steps"] = 6
    mirror = log_dir.mirror(typed(values), folder)
    assert mirror is not None
    training.fetch(mirror)
    chosen = CheckpointSelector(typed(values), folder, "").choose().checkpoint
    train(values, Start(1, chosen))
    assert numbers(folder) == numbers(trained)
    assert (place / contract.METRICS_FILE).read_bytes() == (folder / contract.METRICS_FILE).read_bytes()


def test_without_its_marker_a_checkpoint_is_not_there(bucket: str, trained: Path) -> None:
    place = places.place(f"{bucket}/x")
    for path in (trained / contract.CHECKPOINTS_DIR).rglob("*"):
        if path.is_file():
            (place / path.relative_to(trained / contract.CHECKPOINTS_DIR).as_posix()).write_bytes(path.read_bytes())
    newest, before, _ = complete(place)
    (newest.path / contract.CHECKPOINT_MARKER).unlink()
    assert [one.step for one in complete(place)] == [4, 2]
    assert retention.remove_incomplete(place) == [newest.path]
    assert not newest.path.exists()
    shard = next(path for path in before.path.iterdir() if path.name.endswith(".distcp"))
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"bytes, \d+ were written"):
        verify(before.path)
    assert writer.copy_as_last(complete(place)[-1].path).name.endswith("-last.ckpt")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "upath", None)
    with pytest.raises(CheckpointError, match=r"it is the extra `s3` of neuron-training-operator"):
        places.place("s3://bucket/run")
