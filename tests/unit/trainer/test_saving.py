"""How checkpoints are written: beside training or at once, in which form and dtype, when; and when they cannot be."""

import errno
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributed.checkpoint.state_dict_loader import load

from bounds import BOUND
from neuron_api import contract
from neuron_trainer.checkpoint import complete, layout, reader, shards, verify, writer
from neuron_trainer.checkpoint.manifest import read as read_manifest
from neuron_trainer.checkpoint.shards import ShardReader
from neuron_trainer.checkpoint.staging import CheckpointTensor, Stage
from neuron_trainer.checkpoint.writer import BackgroundWriter
from neuron_trainer.errors import CheckpointError
from neuron_trainer.ipc.worker_channel import Start
from neuron_trainer.launcher.checkpoint_selector import CheckpointSelector
from neuron_trainer.loop import checkpointing
from neuron_trainer.run_directory.resume import ResumeChoice

from .conftest import alone, train, typed
from .test_loop import checkpoint_at, numbers

pytestmark = [pytest.mark.usefixtures("one_process"), pytest.mark.slow]


def run(tiny: Path, folder: Path, **params: Any) -> Path:
    """Six steps, saved every second one, all kept; `params` are of the callback, or of exp_manager after `__`."""
    values = alone(tiny, folder, trainer__max_steps=6)
    manager = values["exp_manager"]
    manager["checkpoint_callback_params"] |= {"every_n_train_steps": 2, "save_top_k": -1}
    for key, value in params.items():
        if key.startswith("__"):
            manager[key.removeprefix("__")] = value
        elif key == "precision":
            values["precision"]["type"] = value
        else:
            manager["checkpoint_callback_params"][key] = value
    return train(values)


def stored(checkpoint: Path) -> dict[str, Tensor]:
    """Every tensor, as it is in the files."""
    dtypes = {tensor.name: getattr(torch, tensor.dtype) for tensor in reader.tensor_entries(checkpoint)}
    found = {t.name: torch.empty(t.shape, dtype=dtypes[t.name]) for t in reader.tensor_entries(checkpoint)}
    load(found, storage_reader=ShardReader(checkpoint))
    return found


def assert_equal(left: Path, right: Path) -> None:
    ours, theirs = stored(left), stored(right)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert tensor.dtype == theirs[name].dtype
        assert torch.equal(tensor, theirs[name]), name
    assert str(reader.load_trainer_state(left)) == str(reader.load_trainer_state(right))


@pytest.fixture(scope="module")
def beside(tiny: Path, one_process: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The session's run `trained`, with checkpoints that are written in the background."""
    return run(tiny, tmp_path_factory.mktemp("beside"), __async_checkpointing=True)


class Gate:
    """Holds every write of a shard until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_open, self.reached = threading.Event(), threading.Event()
        plain = shards.HashingFile.write

        def write(file: shards.HashingFile, data: Any) -> int:
            self.reached.set()
            assert self.is_open.wait(BOUND)
            return plain(file, data)

        monkeypatch.setattr(shards.HashingFile, "write", write)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate(monkeypatch)
    yield gate
    gate.is_open.set()


def test_both_ways_write_the_same_and_change_no_number(beside: Path, trained: Path) -> None:
    assert numbers(beside) == numbers(trained)
    for step in (2, 4, 6):
        verify(checkpoint_at(beside, step))
        assert_equal(checkpoint_at(beside, step), checkpoint_at(trained, step))


def test_a_start_from_either_continues_bit_for_bit(beside: Path, trained: Path, tiny: Path, tmp_path: Path) -> None:
    values = alone(tiny, tmp_path, trainer__max_steps=6)
    assert numbers(train(values, Start(1, str(checkpoint_at(beside, 4))))) == numbers(trained)[4:]


def state(value: float) -> dict[str, CheckpointTensor]:
    return {"model.a": CheckpointTensor(torch.full((8, 8), value), torch.float32)}


def snapshot(folder: Path, tensors: dict[str, Tensor], like: Path) -> writer.Snapshot:
    """The tensors, with manifest and trainer state of a checkpoint that is whole."""
    whole = checkpoint_at(like, 2)
    manifest = read_manifest(whole).model_copy(update={"files": {}})
    return writer.Snapshot(folder / "x.ckpt", tensors, (whole / layout.TRAINER_STATE).read_bytes(), manifest)


def test_a_step_does_not_wait_for_the_write_and_may_change_the_tensors(
    tmp_path: Path, trained: Path, gate: Gate
) -> None:
    stage, background, tensors = Stage(), BackgroundWriter(), state(1.0)
    told = threading.Event()
    background.submit(snapshot(tmp_path, stage.copy(tensors), trained), told.set)
    assert gate.reached.wait(BOUND)
    assert background.finished() is None
    tensors["model.a"].local.fill_(2.0)
    assert not layout.is_complete(tmp_path / "x.ckpt")
    gate.is_open.set()
    pending = background.join()
    assert pending is not None
    assert (pending.step, told.is_set()) == (2, True)
    assert stored(tmp_path / "x.ckpt")["model.a"].unique().tolist() == [1.0]


def test_a_checkpoint_is_complete_when_it_is_written_and_not_at_the_next_save(tmp_path: Path, trained: Path) -> None:
    background = BackgroundWriter()
    done = threading.Event()
    background.submit(snapshot(tmp_path, Stage().copy(state(1.0)), trained), done.set)
    assert done.wait(BOUND), "no call of ours is needed"
    assert layout.is_complete(tmp_path / "x.ckpt")
    background.join()


def test_the_buffers_are_kept_and_cast_on_the_way() -> None:
    stage, tensors = (
        Stage(),
        {"a": CheckpointTensor(torch.ones(4), torch.bfloat16), "b": CheckpointTensor(torch.ones(4), torch.float32)},
    )
    first = stage.copy(tensors)
    assert first["a"].dtype == torch.bfloat16
    places = {name: tensor.data_ptr() for name, tensor in first.items()}
    tensors["b"].local.fill_(3.0)
    again = stage.copy(tensors)
    assert {name: tensor.data_ptr() for name, tensor in again.items()} == places
    assert again["b"].tolist() == [3.0] * 4
    other = stage.copy({"a": CheckpointTensor(torch.ones(5), torch.float32)})
    assert other["a"].shape == (5,)


def test_the_next_save_waits_for_the_one_before(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running, most, lock = 0, 0, threading.Lock()
    plain = writer.write

    def write(*arguments: Any) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        plain(*arguments)
        with lock:
            running -= 1

    monkeypatch.setattr(writer, "write", write)
    folder = run(tiny, tmp_path, every_n_train_steps=1, __async_checkpointing=True)
    assert most == 1
    assert [one.step for one in complete(folder / contract.CHECKPOINTS_DIR)] == [6, 5, 4, 3, 2, 1]


def full_disk(monkeypatch: pytest.MonkeyPatch, checkpoints: Path) -> None:
    """Once there are two complete checkpoints, the first bytes of a shard are written, and no more."""
    plain = shards._Remembering.write

    class Full:
        """A file on the disk."""

        def write(self, _: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    def write(file: Any, data: Any) -> int:
        if file._file.tell() > 0 and len(complete(checkpoints)) == 2:
            file._file = Full()
        return plain(file, data)

    monkeypatch.setattr(shards._Remembering, "write", write)


@pytest.mark.parametrize("is_async", [True, False])
def test_a_failed_write_ends_the_run_with_step_and_path(
    is_async: bool, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full_disk(monkeypatch, tmp_path / contract.CHECKPOINTS_DIR)
    with pytest.raises(CheckpointError) as problem:
        run(tiny, tmp_path, every_n_train_steps=1, __async_checkpointing=is_async)
    message = str(problem.value)
    assert f"the checkpoint of step 3 could not be written to {tmp_path}" in message
    assert "tiny--step=3-" in message
    assert "rank 0: [Errno 28] No space left on device" in message
    assert steps(tmp_path / contract.CHECKPOINTS_DIR) == [1, 2], "the ones before are complete"
    assert not list((tmp_path / contract.CHECKPOINTS_DIR).glob("*step=3-*")), "what was written makes room"


def test_what_a_killed_save_left_goes_when_training_begins(tiny: Path, tmp_path: Path) -> None:
    half = tmp_path / contract.CHECKPOINTS_DIR / "x--step=3.ckpt"
    half.mkdir(parents=True)
    (half / "__0_0.distcp").write_bytes(b"half")
    run(tiny, tmp_path, every_n_train_steps=0, save_top_k=-1)
    assert not half.exists()


# ---- form and dtype -------------------------------------------------------------------------------------------------


def test_xser_is_a_file_for_each_tensor_with_the_same_contents(tiny: Path, tmp_path: Path, trained: Path) -> None:
    folder = run(tiny, tmp_path, __save_xser=True)
    each, one = checkpoint_at(folder, 6), checkpoint_at(trained, 6)
    assert len(list(one.glob("*.distcp"))) == 1
    assert len(list(each.glob("*.distcp"))) == len(reader.tensor_entries(each))
    assert_equal(each, one)


@pytest.mark.parametrize("saved", [True, False])
@pytest.mark.parametrize("expected", [True, False])
def test_either_form_loads_and_a_mismatch_is_told(
    saved: bool, expected: bool, tiny: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = run(tiny, tmp_path, __save_xser=saved, every_n_train_steps=0)
    config = typed(alone(tiny, folder, trainer__max_steps=9, exp_manager__load_xser=expected))
    with caplog.at_level(logging.WARNING):
        chosen = CheckpointSelector(config, folder, "").choose().checkpoint
    assert chosen == str(checkpoint_at(folder, 6))
    assert ("exp_manager.load_xser" in caplog.text) == (saved != expected)


@pytest.mark.parametrize(
    ("params", "model", "masters"),
    [
        ({}, "bfloat16", True),
        ({"use_master_weights_in_ckpt": True}, "float32", False),
        ({"__save_bf16": True}, "bfloat16", True),
        ({"__async_checkpointing": True}, "bfloat16", True),
    ],
)
def test_weights_have_the_dtype_that_is_asked_for_and_a_resume_is_exact(
    params: dict[str, Any], model: str, masters: bool, tiny: Path, tmp_path: Path
) -> None:
    folder = run(tiny, tmp_path / "log", precision="mixed_precision", **params)
    checkpoint = checkpoint_at(folder, 4)
    dtypes = {tensor.name: tensor.dtype for tensor in reader.tensor_entries(checkpoint)}
    assert {dtype for name, dtype in dtypes.items() if name.startswith("model.")} == {model}
    assert {dtype for name, dtype in dtypes.items() if name.startswith("optim.")} == {"float32"}
    assert any(name.endswith(".master") for name in dtypes) == masters
    assert read_manifest(checkpoint).dtype == model
    values = alone(tiny, tmp_path / "again", trainer__max_steps=6, precision__type="mixed_precision")
    assert numbers(train(values, Start(1, str(checkpoint)))) == numbers(folder)[4:]


def test_fp32_weights_in_bf16_are_resumed_exactly(tiny: Path, tmp_path: Path, trained: Path) -> None:
    folder = run(tiny, tmp_path / "log", __save_bf16=True)
    again = train(alone(tiny, tmp_path / "again", trainer__max_steps=6), Start(1, str(checkpoint_at(folder, 4))))
    assert numbers(again) == numbers(trained)[4:]


def test_weights_alone_begin_another_run_and_are_not_resumed(
    tiny: Path, tmp_path: Path, trained: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = run(tiny, tmp_path / "log", save_weights_only=True, __resume_if_exists=False)
    checkpoint = checkpoint_at(folder, 6)
    assert all(tensor.name.startswith("model.") for tensor in reader.tensor_entries(checkpoint))
    assert not (checkpoint / layout.TRAINER_STATE).exists()
    verify(checkpoint)
    config = typed(alone(tiny, folder, trainer__max_steps=9))
    assert CheckpointSelector(config, folder, "").choose() == ResumeChoice()
    given = typed(alone(tiny, tmp_path / "new", exp_manager__resume_from_checkpoint=str(checkpoint)))
    with caplog.at_level(logging.WARNING):
        assert CheckpointSelector(given, tmp_path / "new", "").choose() == ResumeChoice(str(checkpoint), True)
    assert "holds weights alone" in caplog.text


def test_a_tensor_that_is_missing_is_named(tiny: Path, tmp_path: Path, trained: Path) -> None:
    values = alone(tiny, tmp_path, trainer__max_steps=9)
    values["model"]["optim"] = {"name": "sgd", "lr": 0.1, "momentum": 0.9}
    with pytest.raises(CheckpointError, match=r"has no optim\.\S+\.momentum_buffer.*the optimizer that it was written"):
        train(values, Start(1, str(checkpoint_at(trained, 6))))


# ---- when, where, under which name ----------------------------------------------------------------------------------


def steps(folder: Path) -> list[int]:
    return sorted(one.step for one in complete(folder))


def test_dirpath_is_taken_as_it_is_also_with_v_in_it(tiny: Path, tmp_path: Path) -> None:
    place = tmp_path / "ckpt-volume" / "llama-v2"
    folder = run(tiny, tmp_path / "log", dirpath=str(place))
    assert steps(place) == [2, 4, 6]
    assert not (folder / contract.CHECKPOINTS_DIR).exists()
    values = alone(tiny, folder, trainer__max_steps=9)
    values["exp_manager"]["checkpoint_callback_params"]["dirpath"] = str(place)
    chosen = CheckpointSelector(typed(values), folder, "").choose().checkpoint
    assert chosen is not None
    assert Path(chosen).parent == place


def test_epochs_give_a_rhythm(tiny: Path, tmp_path: Path) -> None:
    values = alone(tiny, tmp_path, trainer__max_steps=19)
    values["exp_manager"]["checkpoint_callback_params"] |= {
        "every_n_train_steps": 0, "every_n_epochs": 1, "save_top_k": -1,
    }  # fmt: skip
    folder = train(values) / contract.CHECKPOINTS_DIR
    assert steps(folder) == [8, 16, 19], "64 rows are 8 steps an epoch"


def test_the_clock_gives_a_rhythm(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 1.0
        return now

    monkeypatch.setattr(checkpointing, "time", SimpleNamespace(monotonic=clock))  # this module's alone
    folder = run(tiny, tmp_path, every_n_train_steps=0, train_time_interval=3)
    found = steps(folder / contract.CHECKPOINTS_DIR)
    assert found[-1] == 6
    assert 1 < len(found) < 6


def test_names_have_prefix_postfix_and_values_alone(tiny: Path, tmp_path: Path) -> None:
    folder = run(tiny, tmp_path, every_n_train_steps=0, filename="{step}", prefix="run", postfix="-final",
                 auto_insert_metric_name=False)  # fmt: skip
    assert [one.path.name for one in complete(folder / contract.CHECKPOINTS_DIR)] == ["run-6-final.ckpt"]


def test_checkpoints_of_one_name_are_replaced_or_numbered(tiny: Path, tmp_path: Path) -> None:
    folder = run(tiny, tmp_path / "replaced", filename="plain", save_top_k=1)
    assert [(one.path.name, one.step) for one in complete(folder / contract.CHECKPOINTS_DIR)] == [("plain.ckpt", 6)]
    folder = run(tiny, tmp_path / "numbered", filename="plain", enable_version_counter=True)
    assert {one.path.name: one.step for one in complete(folder / contract.CHECKPOINTS_DIR)} == {
        "plain.ckpt": 2, "plain-v1.ckpt": 4, "plain-v2.ckpt": 6,
    }  # fmt: skip


def test_a_checkpoint_without_lightnings_version_is_migrated_from_the_given_one(
    tiny: Path, tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, seen = reader.load_trainer_state, []

    def without(folder: Path) -> dict[str, Any]:
        state = plain(folder)
        del state["pytorch-lightning_version"]
        seen.append(state)
        return state

    monkeypatch.setattr(reader, "load_trainer_state", without)
    values = alone(tiny, tmp_path, trainer__max_steps=6, exp_manager__ckpt_ptl_version="2.0.0")
    assert numbers(train(values, Start(1, str(checkpoint_at(trained, 4))))) == numbers(trained)[4:]
    assert len(seen) == 1
