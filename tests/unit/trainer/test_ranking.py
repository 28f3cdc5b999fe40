"""A checkpoint that `monitor` cannot rank is refused before the first step; `save_last` needs no `save_top_k`.

The kinds: a metric that is not there when it is needed, and a request that another key silently switches off
(Lightning#1926). Rhythms of saves and validations tried: by steps, parts of an epoch, epochs, over their borders.
"""

from pathlib import Path
from typing import Any

import pytest

from neuron_api import contract
from neuron_api.config import CheckpointCallbackParams
from neuron_trainer.checkpoint import complete
from neuron_trainer.errors import InputError
from neuron_trainer.ipc.worker_channel import Start, WorkerChannel
from neuron_trainer.loop import ranking
from neuron_trainer.loop.ranking import Validations
from neuron_trainer.metrics.history import STARTS_FILE

from .conftest import alone, train
from .test_loop import numbers

pytestmark = pytest.mark.slow

LAST = {"save_top_k": 0, "save_last": True, "every_n_train_steps": 5}


@pytest.mark.parametrize(("saves", "interval", "epochs", "epoch", "first"), [
    ({"every_n_train_steps": 4}, 2, None, 10, None), ({"every_n_train_steps": 2}, 4, None, 10, 2),
    ({"every_n_train_steps": 4}, 2, 1, 8, None), ({"every_n_train_steps": 4}, 2, 1, 7, 8),
    ({"every_n_train_steps": 5}, 10, 1, 10, 5), ({"every_n_train_steps": 10}, 10, 2, 10, 10),
    ({"every_n_train_steps": 20}, 10, 2, 10, None), ({"every_n_epochs": 1}, 10, 1, 10, None),
    ({"every_n_epochs": 1}, 10, 2, 10, 10), ({"every_n_epochs": 2}, 10, 2, 10, None),
    ({"every_n_epochs": 1}, 4, 1, 10, 10),
    ({"train_time_interval": 60.0}, 7, 1, 10, None), ({}, 7, 1, 10, None),
])  # fmt: skip
def test_the_first_save_without_a_validation_is_named(
    saves: dict[str, Any], interval: int, epochs: int | None, epoch: int, first: int | None
) -> None:
    params = CheckpointCallbackParams(monitor="val_loss", mode="min", **saves)
    found = ranking.check(params, Validations(interval, epochs, epoch), 0, 1000)
    assert (None if found is None else int(found.message.split("step ")[1].split(",")[0])) == first
    off = ranking.check(params, Validations(interval, epochs, epoch, is_on=False), 0, 1000)
    assert (off is None) is not bool(params.every_n_train_steps or params.every_n_epochs)
    assert ranking.check(params.model_copy(update={"monitor": "step"}), Validations(3, 1, 10), 0, None) is None


def test_saves_that_are_done_or_beyond_the_end_are_not_looked_at() -> None:
    params = CheckpointCallbackParams(monitor="val_loss", every_n_train_steps=4)
    rhythm = Validations(8, None, 100)
    assert ranking.check(params, rhythm, 4, 8) is None
    assert ranking.check(params, rhythm, 0, 3) is None
    assert ranking.check(params, rhythm, 8, None) is not None


@pytest.mark.usefixtures("one_process")
def test_a_run_that_could_not_rank_its_checkpoints_does_not_begin(tiny: Path, tmp_path: Path) -> None:
    values = alone(tiny, tmp_path, trainer__max_steps=10, trainer__limit_val_batches=1, trainer__val_check_interval=4)
    values["data"]["val_dir"] = str(tiny / "data")
    values["exp_manager"]["checkpoint_callback_params"] |= {"monitor": "val_loss", "every_n_train_steps": 2}
    with pytest.raises(InputError, match=r"every_n_train_steps to a multiple of trainer\.val_check_interval"):
        train(values)
    assert not (tmp_path / contract.METRICS_FILE).exists()
    assert not (tmp_path / STARTS_FILE).exists(), "it was no start"


def test_a_refusal_of_a_process_reaches_the_launcher(tmp_path: Path) -> None:
    handoff = WorkerChannel(tmp_path)
    assert handoff.refusal() is None
    problem = InputError([ranking.check(CheckpointCallbackParams(monitor="val_loss", every_n_train_steps=2),
                                        Validations(4, None, 8), 0, 8)])  # type: ignore[list-item]  # fmt: skip
    handoff.report_refusal(problem)
    assert str(handoff.refusal()) == str(problem)


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("is_async", [False, True])
def test_save_last_alone_keeps_the_newest_and_it_can_be_resumed(is_async: bool, tiny: Path, tmp_path: Path) -> None:
    values = alone(tiny, tmp_path, trainer__max_steps=10, exp_manager__async_checkpointing=is_async)
    values["exp_manager"]["checkpoint_callback_params"] |= LAST
    votes, saved = iter(range(1, 100)), tmp_path / contract.CHECKPOINTS_DIR
    train(values, wants_stop=lambda: next(votes) >= 7)
    assert [path.name for path in saved.iterdir()] == ["tiny--step=7-consumed_samples=56.0-last.ckpt"]
    (checkpoint,) = complete(saved)
    handoff = WorkerChannel(tmp_path / "handoff")
    handoff.folder.mkdir()
    train(values, Start(1, str(checkpoint.path), last_step=7), handoff)
    assert [path.name for path in saved.iterdir()] == ["tiny--step=10-consumed_samples=80.0-last.ckpt"]
    assert [line[0] for line in numbers(tmp_path)] == list(range(1, 11))
    report = handoff.read_progress()
    assert report is not None
    assert report.checkpoint is not None
    assert Path(report.checkpoint.path).is_dir(), "what is reported is there"
