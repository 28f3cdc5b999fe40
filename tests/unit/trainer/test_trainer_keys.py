"""Keys of `trainer` and `exp_manager` that a run honours beside the document's own, as Lightning and NeMo mean them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from neuron_api import contract
from neuron_api.loading.loader import Loaded
from neuron_trainer import run_config
from neuron_trainer.checkpoint import complete
from neuron_trainer.ipc.worker_channel import Start, WorkerChannel
from neuron_trainer.loop.module import TimeLimit
from neuron_trainer.metrics import history
from neuron_trainer.run_directory import log_dir, recorded_files

from .conftest import alone, train, typed
from .test_loop import checkpoint_at, lines, numbers

pytestmark = [pytest.mark.usefixtures("one_process"), pytest.mark.slow]
NO_CHECKPOINTS = {"exp_manager__create_checkpoint_callback": False}
VALIDATED = {
    "trainer__limit_val_batches": 2,
    "trainer__val_check_interval": 2,
    "trainer__check_val_every_n_epoch": None,
}


def steps_of(folder: Path) -> list[int]:
    return [line["step"] for line in lines(folder)]


# ---- ends -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", ["00:00:00:10", {"seconds": 10}, {"minutes": 0, "seconds": 10}])
def test_the_time_is_counted_from_the_beginning_of_each_training(limit: Any) -> None:
    now = [100.0]
    one = TimeLimit(limit, lambda: now[0])
    assert not one.is_over
    one.begin()
    now[0] = 109.9
    assert not one.is_over
    now[0] = 110.0
    assert one.is_over


def test_without_a_limit_no_time_is_over() -> None:
    one = TimeLimit(None, lambda: 1e12)
    one.begin()
    assert not one.is_over


def test_max_time_ends_training_with_a_checkpoint_of_the_last_step(tiny: Path, tmp_path: Path) -> None:
    changes = {"trainer__max_steps": -1, "trainer__max_time": "00:00:00:01", "trainer__min_steps": 10**6}
    folder = train(alone(tiny, tmp_path, **changes))
    last = steps_of(folder)[-1]
    assert 1 <= last < 10**6
    assert complete(folder / contract.CHECKPOINTS_DIR)[0].step == last


def test_a_stop_that_was_asked_for_saves_and_does_not_validate(tiny: Path, tmp_path: Path) -> None:
    """A node that goes has its grace for the checkpoint; with validations of hours Lightning would use it up."""
    handoff = WorkerChannel(tmp_path / "handoff")
    handoff.folder.mkdir()
    changes = {"trainer__limit_val_batches": 2, "trainer__val_check_interval": 5, "data__val_dir": str(tiny / "data")}
    values = alone(tiny, tmp_path / "log", trainer__max_steps=20, trainer__min_steps=15, **changes)
    asked = iter(range(1, 100))  # once in every step
    folder = train(values, handoff=handoff, wants_stop=lambda: next(asked) >= 3)
    last = steps_of(folder)[-1]
    assert last in (3, 4), "the votes are counted while the next step runs"
    assert complete(folder / contract.CHECKPOINTS_DIR)[0].step == last
    assert not history.open_history(folder).history().validations


@pytest.mark.parametrize(("monitor", "threshold"), [("val_loss", 100.0), ("reduced_train_loss", 100.0)])
def test_early_stopping_ends_training_at_the_first_look_that_tells_it_to(
    monitor: str, threshold: float, tiny: Path, tmp_path: Path
) -> None:
    changes = {"exp_manager__create_early_stopping_callback": True, "data__val_dir": str(tiny / "data"), **VALIDATED}
    values = alone(tiny, tmp_path, trainer__max_steps=20, **changes)
    values["exp_manager"]["early_stopping_callback_params"] = {"monitor": monitor, "stopping_threshold": threshold}
    folder = train(values)
    assert steps_of(folder)[-1] == 2
    assert complete(folder / contract.CHECKPOINTS_DIR)[0].step == 2


def test_early_stopping_remembers_its_patience_over_a_restart(tiny: Path, tmp_path: Path) -> None:
    """Nothing is an improvement of 1000: the first look is taken for the best, and two more are the patience."""
    changes = {"exp_manager__create_early_stopping_callback": True, "data__val_dir": str(tiny / "data"), **VALIDATED}
    values = alone(tiny, tmp_path, trainer__max_steps=20, **changes)
    values["exp_manager"]["checkpoint_callback_params"] |= {"every_n_train_steps": 1, "save_top_k": -1}
    values["exp_manager"]["early_stopping_callback_params"] = {"min_delta": 1000.0, "patience": 2}
    folder = train(values)
    assert steps_of(folder)[-1] == 6
    for step in (4, 5):  # with a validation at the step of the checkpoint itself, and without
        train(values, Start(1, str(checkpoint_at(folder, step)), last_step=6))
        assert steps_of(folder)[-1] == 6


def test_min_steps_holds_early_stopping_back(tiny: Path, tmp_path: Path) -> None:
    changes = {"exp_manager__create_early_stopping_callback": True, "data__val_dir": str(tiny / "data"), **VALIDATED}
    least = {"trainer__min_steps": 5, "trainer__limit_train_batches": 3}  # Lightning: with min_steps at least one epoch
    values = alone(tiny, tmp_path, trainer__max_steps=20, **least, **changes)
    values["exp_manager"]["early_stopping_callback_params"] = {"stopping_threshold": 100.0}
    assert steps_of(train(values))[-1] == 5


# ---- how much of the data -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("key", "value", "of_epoch"), [
    ("trainer__limit_train_batches", 3, 3), ("trainer__limit_train_batches", 0.5, 4),
    ("trainer__limit_train_batches", 0.01, 1), ("trainer__overfit_batches", 2, 2),
])  # fmt: skip
def test_an_epoch_is_only_as_many_batches(
    key: str, value: float, of_epoch: int, tiny: Path, tmp_path: Path, trained: Path
) -> None:
    """An epoch begins with the same batches each time, so a rate of 0 shows them by their losses."""
    changes = {**NO_CHECKPOINTS, "model__optim__lr": 0.0, "trainer__max_steps": 2 * of_epoch, key: value}
    losses = [line["loss"] for line in lines(train(alone(tiny, tmp_path, **changes)))]
    assert losses[:of_epoch] == losses[of_epoch:]
    assert len(set(losses[:of_epoch])) == of_epoch
    assert losses[0] == lines(trained)[0]["loss"]


@pytest.mark.parametrize(("epochs", "steps", "done"), [(2, -1, 6), (2, 5, 5), (2, 7, 6), (-1, 7, 7)])
def test_what_comes_first_of_epochs_and_steps_ends_training(
    epochs: int, steps: int, done: int, tiny: Path, tmp_path: Path
) -> None:
    changes = {"trainer__max_steps": steps, "trainer__max_epochs": epochs, "trainer__limit_train_batches": 3}
    assert steps_of(train(alone(tiny, tmp_path, **NO_CHECKPOINTS, **changes))) == list(range(1, done + 1))


def test_the_position_is_kept_in_epochs_of_limited_length(tiny: Path, tmp_path: Path) -> None:
    changes = {
        "trainer__max_steps": 8, "trainer__limit_train_batches": 3, "trainer__reload_dataloaders_every_n_epochs": 1,
        "exp_manager__checkpoint_callback_params__every_n_train_steps": 1,
        "exp_manager__checkpoint_callback_params__save_top_k": -1,
    }  # fmt: skip
    unbroken = train(alone(tiny, tmp_path / "a", **changes))
    for step in (2, 3, 4):
        found = train(alone(tiny, tmp_path / f"b{step}", **changes), Start(1, str(checkpoint_at(unbroken, step))))
        assert numbers(found) == numbers(unbroken)[step:]


@pytest.mark.parametrize(("value", "steps"), [(True, 1), (3, 3)])
def test_fast_dev_run_does_a_few_steps_of_everything_and_leaves_nothing(
    value: int, steps: int, tiny: Path, tmp_path: Path
) -> None:
    loggers = {f"exp_manager__{key}": True for key in run_config.LOGGERS}
    values = alone(
        tiny, tmp_path, trainer__fast_dev_run=value, data__val_dir=str(tiny / "data"), **loggers, **VALIDATED
    )
    config = run_config.with_fast_dev_run(typed(values))
    assert run_config.with_fast_dev_run(config) == config, "launcher and processes may both apply it"
    assert (config.trainer.max_steps, config.trainer.limit_val_batches) == (steps, steps)
    assert not config.exp_manager.create_checkpoint_callback
    assert not config.exp_manager.resume_if_exists
    assert not any(getattr(config.exp_manager, key) for key in run_config.LOGGERS), "it is no run of any tracker"
    assert run_config.with_fast_dev_run(typed(alone(tiny, tmp_path))) == typed(alone(tiny, tmp_path))


# ---- what is handed to Lightning ------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [
    {"trainer__detect_anomaly": True}, {"trainer__deterministic": True}, {"trainer__deterministic": "warn"},
    {"trainer__inference_mode": False}, {"trainer__min_epochs": 1},
])  # fmt: skip
def test_lightnings_switches_change_no_number(
    changes: dict[str, Any], tiny: Path, tmp_path: Path, trained: Path
) -> None:
    try:
        folder = train(alone(tiny, tmp_path, trainer__max_steps=6, **NO_CHECKPOINTS, **changes))
    finally:
        torch.use_deterministic_algorithms(False)
    assert numbers(folder) == numbers(trained)


def test_the_profile_is_a_file_in_the_log_directory(tiny: Path, tmp_path: Path) -> None:
    folder = train(alone(tiny, tmp_path, trainer__max_steps=2, trainer__profiler="simple", **NO_CHECKPOINTS))
    (report,) = folder.glob("*profile*.txt")
    assert "run_training_batch" in report.read_text()


# ---- the log directory ----------------------------------------------------------------------------------------------


def versioned(tiny: Path, base: Path, **changes: Any) -> Path:
    values = alone(tiny, base)
    values["exp_manager"] = {"exp_dir": str(base), **changes}
    return log_dir.log_dir(typed(values))


def test_the_version_is_the_configured_one_or_the_next_number(tiny: Path, tmp_path: Path) -> None:
    assert versioned(tiny, tmp_path, version="v7") == tmp_path / "tiny" / "v7"
    assert versioned(tiny, tmp_path, use_datetime_version=False) == tmp_path / "tiny" / "version_0"
    for name in ("version_2", "version_10", "version_x"):
        (tmp_path / "tiny" / name).mkdir(parents=True)
    assert versioned(tiny, tmp_path, use_datetime_version=False) == tmp_path / "tiny" / "version_11"


def test_the_environments_version_wins(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(contract.ENV_EXPERIMENT_VERSION, "of-the-job")
    assert versioned(tiny, tmp_path, version="v7").name == "of-the-job"


def test_files_are_copied_and_those_that_are_absent_are_named(tmp_path: Path) -> None:
    (tmp_path / "recipe.sh").write_text("train")
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "a.yaml").write_text("{}")
    log = tmp_path / "log"
    log.mkdir()
    for _ in range(2):
        recorded_files.copy_files([str(tmp_path / "recipe.sh"), str(tmp_path / "conf")], log)
    assert (log / "recipe.sh").read_text() == "train"
    assert (log / "conf" / "a.yaml").exists()
    (found,) = recorded_files.check_files([str(tmp_path / "recipe.sh"), str(tmp_path / "none")])
    assert "none does not exist" in found.message


def test_what_a_start_leaves_has_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = "https://me:hidden@mlflow.example/api"
    arguments = [
        "--file",
        "a.yaml",
        f"exp_manager.mlflow_logger_kwargs.tracking_uri={address}",
        "data.hub_token=hidden",
    ]
    monkeypatch.setattr("sys.argv", ["neuron-train", *arguments])
    values = {"name": "a", "data": {"hub_token": "hidden"}, "exp_manager": {"mlflow_logger_kwargs": {"uri": address}}}
    recorded_files.write_start(tmp_path, Loaded(None, values, "", ()), ())
    assert yaml.safe_load((tmp_path / log_dir.RESOLVED_CONFIG).read_text()) == {
        "name": "a", "data": {"hub_token": "***"},
        "exp_manager": {"mlflow_logger_kwargs": {"uri": "https://mlflow.example/api"}},
    }  # fmt: skip
    line = (tmp_path / recorded_files.COMMAND_LINES).read_text()
    assert "hidden" not in line
    assert "exp_manager.mlflow_logger_kwargs.tracking_uri=https://mlflow.example/api" in line


def test_arguments_of_the_summary_writer_reach_it(tiny: Path, tmp_path: Path) -> None:
    changes = {
        "exp_manager__create_tensorboard_logger": True,
        "exp_manager__summary_writer_kwargs": {"filename_suffix": ".mine"},
    }
    folder = train(alone(tiny, tmp_path, trainer__max_steps=1, **NO_CHECKPOINTS, **changes))
    assert [path.suffix for path in folder.glob("events.out.tfevents.*")] == [".mine"]
    assert json.loads((folder / contract.METRICS_FILE).read_text())["step"] == 1


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard reads: steps and values by name."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(one.step, one.value) for one in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


@pytest.mark.parametrize("timed", [True, False])
def test_tensorboard_has_the_documented_scalars_and_timings_unless_they_are_off(
    timed: bool, tiny: Path, tmp_path: Path
) -> None:
    """The norms with switches of their own, here on where the timings are off."""
    values = alone(
        tiny, tmp_path, trainer__max_steps=4, trainer__log_every_n_steps=2, **NO_CHECKPOINTS,
        exp_manager__create_tensorboard_logger=True, exp_manager__log_step_timing=timed,
        trainer__limit_val_batches=2, trainer__val_check_interval=4, data__val_dir=str(tiny / "data"),
        exp_manager__log_gradient_norm=not timed, exp_manager__log_parameter_norm=not timed,
    )  # fmt: skip
    found = scalars(train(values))
    timings = {name for name in found if name.endswith("timing in s")}
    assert timings == ({"train_step_timing in s", "validation_step_timing in s"} if timed else set())
    assert all(0 < value < 60 for name in timings for _, value in found[name])
    assert found.keys() - timings >= {
        "reduced_train_loss", "lr", "global_step", "consumed_samples", "throughput", "throughput_peak",
        "val_loss", "epoch", "tokens_per_second",
    }  # fmt: skip
    assert {"gradient_norm", "parameter_norm"} & found.keys() == (
        set() if timed else {"gradient_norm", "parameter_norm"}
    )
    assert [step for step, _ in found["reduced_train_loss"]] == [2, 4]
    assert [step for step, _ in found["val_loss"]] == [4]
    rate = dict(found["tokens_per_second"])
    assert all(value == pytest.approx(rate[step] / 32, rel=1e-5) for step, value in found["throughput"])
    assert found["throughput_peak"][-1][1] == pytest.approx(max(value for _, value in found["throughput"]))
