"""A start that ends inside an epoch is gone on with there, whatever ended it (Lightning#4184, #19617).

The kind: the end of a start taken for the end of an epoch. Ends tried: max_time, a stop, max_steps, early stopping;
bounds by steps and by epochs, limited epochs, another batch size, another length of the epoch; checkpoints of an older
release, whose loops have counted an epoch too many. With several processes: `test_interrupted_runs`.
"""

from pathlib import Path
from typing import Any

import pytest

from neuron_api import contract
from neuron_trainer.checkpoint import complete
from neuron_trainer.ipc.worker_channel import Start, WorkerChannel
from neuron_trainer.loop import run as loop_run
from neuron_trainer.loop.module import Position, TimeLimit
from neuron_trainer.loop.run import Run
from neuron_trainer.loop.stopping import Stop

from .conftest import alone, train
from .test_loop import numbers

pytestmark = [pytest.mark.usefixtures("one_process"), pytest.mark.slow]
ONE_EPOCH = {
    "trainer__max_steps": -1, "trainer__max_epochs": 1,
    "exp_manager__checkpoint_callback_params__every_n_train_steps": 0,
    "exp_manager__checkpoint_callback_params__filename": None,
}  # fmt: skip
"""64 rows are 8 steps."""


@pytest.fixture
def stops(monkeypatch: pytest.MonkeyPatch) -> list[Stop]:
    """Why each start trained no further."""
    found: list[Stop] = []
    fit = Run.fit

    def record(*arguments: Any, **keys: Any) -> Stop:
        found.append(fit(*arguments, **keys))
        return found[-1]

    monkeypatch.setattr(loop_run.Run, "fit", record)
    return found


def resume(values: dict[str, Any], folder: Path, handoff: WorkerChannel | None = None) -> Path:
    newest = complete(folder / contract.CHECKPOINTS_DIR)[0]
    return train(values, Start(1, str(newest.path), last_step=newest.step), handoff)


@pytest.fixture(scope="module")
def unbroken(tiny: Path, one_process: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One epoch."""
    return train(alone(tiny, tmp_path_factory.mktemp("epoch"), **ONE_EPOCH))


@pytest.mark.parametrize("ended_by", ["max_time", "stop", "max_steps"])
@pytest.mark.parametrize("step", [1, 3, 7, 8])
def test_an_epoch_goes_on_where_a_start_has_ended(
    ended_by: str, step: int, tiny: Path, tmp_path: Path, unbroken: Path, stops: list[Stop],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    values = alone(tiny, tmp_path, **ONE_EPOCH)
    votes = iter(range(1, 100))  # one in every step
    with monkeypatch.context() as patched:
        if ended_by == "max_time":
            patched.setattr(TimeLimit, "is_over", property(lambda _: next(votes) >= step))
        if ended_by == "max_steps":
            values["trainer"]["max_steps"] = step
        train(values, wants_stop=lambda: ended_by == "stop" and next(votes) >= step)
    (first,) = complete(tmp_path / contract.CHECKPOINTS_DIR)
    assert (first.path.name, first.manifest.epoch) == (f"epoch=0-step={step}.ckpt", 0)
    values["trainer"]["max_steps"] = -1
    resume(values, tmp_path)
    assert numbers(tmp_path) == numbers(unbroken)
    last = complete(tmp_path / contract.CHECKPOINTS_DIR)[0]
    assert last.path.name == "epoch=0-step=8.ckpt"
    how = {"max_time": Stop.TIME, "stop": Stop.REQUEST, "max_steps": Stop.END}[ended_by]
    assert stops == [Stop.END if step == 8 and ended_by == "max_time" else how, Stop.END]


def test_a_run_whose_epochs_are_done_has_nothing_to_do(tiny: Path, tmp_path: Path) -> None:
    """Also with a bound that lies behind it, where Lightning would fail."""
    handoff = WorkerChannel(tmp_path / "handoff")
    handoff.folder.mkdir()
    values = alone(tiny, tmp_path / "log", **ONE_EPOCH, trainer__limit_train_batches=2)
    values["trainer"]["max_epochs"] = 3
    before = numbers(train(values))
    for epochs in (3, 2, 1):
        values["trainer"]["max_epochs"] = epochs
        assert numbers(resume(values, tmp_path / "log", handoff)) == before
        report = handoff.read_progress()
        assert report is not None
        assert (report.step, report.max_steps) == (6, 6)


def test_more_epochs_go_on_where_the_last_one_ended(tiny: Path, tmp_path: Path, three_times: Path) -> None:
    values = alone(tiny, tmp_path, **ONE_EPOCH, trainer__limit_train_batches=3)
    train(values)
    values["trainer"]["max_epochs"] = 3
    resume(values, tmp_path)
    assert numbers(tmp_path) == numbers(three_times)
    assert complete(tmp_path / contract.CHECKPOINTS_DIR)[0].path.name == "epoch=2-step=9.ckpt"


@pytest.fixture(scope="module")
def three_times(tiny: Path, one_process: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    values = alone(tiny, tmp_path_factory.mktemp("three"), **ONE_EPOCH, trainer__limit_train_batches=3)
    values["trainer"]["max_epochs"] = 3
    return train(values)


@pytest.mark.parametrize(("batch", "samples"), [(4, [28, 32, 36]), (16, [32, 48, 64]), (12, [36, 48, 60])])
def test_another_batch_size_goes_on_at_the_same_sample(
    batch: int, samples: list[int], tiny: Path, tmp_path: Path
) -> None:
    """Or at the last whole batch before it: none is left out. The epoch ends where its samples do."""
    values = alone(tiny, tmp_path, **ONE_EPOCH)
    values["trainer"]["max_steps"] = 3
    train(values)
    values["trainer"]["max_steps"] = -1
    values["data"]["global_batch_size"] = batch
    values["data"]["micro_batch_size"] = min(batch, 4)
    found = numbers(resume(values, tmp_path))[3:]
    assert [line[4] for line in found][:3] == samples
    assert found[-1][4] == 64 - 64 % batch


def test_a_position_is_complete_steps_and_the_loops_are_those_of_the_next_batch() -> None:
    assert [Position(step, step, 4).epoch for step in range(10)] == [0, 0, 0, 0, 0, 1, 1, 1, 1, 2]
    loop: dict[str, Any] = {"epoch_progress": "of an older release: an epoch too many"}
    Position(11, 11, 155).restore(loop, 1)
    assert loop["epoch_progress"]["current"] == {"ready": 1, "started": 1, "processed": 0, "completed": 0}
    assert loop["epoch_loop.batch_progress"]["current"]["completed"] == 11
