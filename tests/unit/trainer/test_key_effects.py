"""Keys whose effect is a number or a file: what of a gradient is applied, which files there are, how many steps."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from neuron_trainer.convert import native
from neuron_trainer.launcher import job_file
from neuron_trainer.launcher.start import _load
from neuron_trainer.run_directory import log_dir

from .conftest import alone, train, typed
from .test_loop import checkpoint_at, lines

pytestmark = [pytest.mark.usefixtures("one_process"), pytest.mark.slow]
NO_CHECKPOINTS = {"exp_manager__create_checkpoint_callback": False}
EACH_STEP = {
    "exp_manager__checkpoint_callback_params__every_n_train_steps": 1,
    "exp_manager__checkpoint_callback_params__save_top_k": -1,
}


def weights(checkpoint: Path) -> torch.Tensor:
    """All of them in a row, fp64."""
    return torch.cat([load().flatten().double() for _, load in sorted(native.read(checkpoint).items())])


# ---- trainer.gradient_clip_val --------------------------------------------------------------------------------------


@pytest.mark.parametrize("clip", [0.1, 1e9, 0, None])
def test_the_gradient_that_is_applied_has_at_most_the_given_norm(
    clip: float | None, tiny: Path, tmp_path: Path
) -> None:
    """Plain gradient descent: a step moves the weights by rate x gradient, and nothing else."""
    values = alone(tiny, tmp_path, trainer__max_steps=3, trainer__gradient_clip_val=clip, **EACH_STEP)
    values["model"]["optim"] = {"name": "sgd", "lr": 0.05, "sched": {"warmup_steps": 0, "max_steps": 100}}
    folder = train(values)
    for before, after in ((1, 2), (2, 3)):
        line = lines(folder)[after - 1]
        moved = torch.linalg.vector_norm(weights(checkpoint_at(folder, after)) - weights(checkpoint_at(folder, before)))
        assert line["gradient_norm"] > 0.5, "there is something to clip, and the norm is the one before clipping"
        wanted = min(line["gradient_norm"], clip or float("inf"))
        assert moved.item() == pytest.approx(line["lr"] * wanted, rel=1e-4)


# ---- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_on", [True, False])
def test_files_of_switches_are_there_or_not(is_on: bool, tiny: Path, tmp_path: Path) -> None:
    switches = ("create_tensorboard_logger", "enable_recovery_time_instrumentation", "create_checkpoint_callback")
    changes = {f"exp_manager__{name}": is_on for name in switches}
    folder = train(alone(tiny, tmp_path, trainer__max_steps=2, **changes))
    names = {path.name.partition(".")[0] for path in folder.iterdir()}
    assert names & {"events", "recovery", "checkpoints"} == ({"events", "recovery", "checkpoints"} if is_on else set())
    if is_on:
        seconds = json.loads((folder / log_dir.RECOVERY_FILE).read_text())
        assert list(seconds) == ["groups", "model_build", "data_seek", "first_batch", "first_step"], (
            "and the launcher's"
        )
        assert all(value >= 0 for value in seconds.values())
        assert seconds["first_step"] > 0


# ---- variables of NxDT's scripts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("environ", "steps", "leaves"), [
    ({}, 30, True), ({"COMPILE": "0"}, 30, True), ({"TRAIN_ITERS": "7"}, 30, True),
    ({"COMPILE": "0", "TRAIN_ITERS": "7"}, 7, True), ({"COMPILE": "1"}, 10, False),
    ({"COMPILE": "1", "TRAIN_ITERS": "7"}, 10, False),
])  # fmt: skip
def test_the_variables_of_the_scripts_say_how_many_steps(
    environ: dict[str, str], steps: int, leaves: bool, tiny: Path, tmp_path: Path
) -> None:
    import yaml

    values = alone(tiny, tmp_path, exp_manager__create_tensorboard_logger=True)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
    config = _load(tmp_path / "config.yaml", job_file.environment_overrides(environ), None).config
    assert config is not None
    assert config.trainer.max_steps == steps
    assert config.exp_manager.create_tensorboard_logger == config.exp_manager.create_checkpoint_callback == leaves


# ---- data -----------------------------------------------------------------------------------------------------------


def losses(tiny: Path, folder: Path, **changes: Any) -> list[float]:
    return [line["loss"] for line in lines(train(alone(tiny, folder, **NO_CHECKPOINTS, **changes)))]


def test_the_batches_do_not_depend_on_the_number_of_workers(tiny: Path, tmp_path: Path) -> None:
    found = [losses(tiny, tmp_path / str(n), trainer__max_steps=4, data__num_workers=n) for n in (0, 2)]
    assert found[0] == found[1]


@pytest.mark.parametrize(("drops", "steps"), [(True, 5), (False, 6)])
def test_the_rest_of_an_epoch_is_dropped_or_trained_on(drops: bool, steps: int, tiny: Path, tmp_path: Path) -> None:
    """45 rows are five batches of 8 and 5 rows; what fills the batch has no targets."""
    from distributed.tiny import write_rows

    write_rows(tmp_path / "data", rows=45)
    changes = {"trainer__max_steps": -1, "trainer__max_epochs": 1, "data__train_dir": str(tmp_path / "data")}
    found = losses(tiny, tmp_path / "log", **changes, data__drop_last=drops)
    assert len(found) == steps
    assert typed(alone(tiny, tmp_path)).data.drop_last, "the default"
