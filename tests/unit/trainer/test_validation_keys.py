"""When is validated, on how many batches: Lightning's meaning of the keys of `trainer`."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from neuron_trainer.ipc.worker_channel import Start
from neuron_trainer.loop.module import TrainingModule
from neuron_trainer.metrics.history import VALIDATIONS_FILE

from .conftest import alone, train
from .test_loop import checkpoint_at

pytestmark = [pytest.mark.usefixtures("one_process"), pytest.mark.slow]


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Steps that were finished at each batch of a validation."""
    found: list[int] = []
    evaluate = TrainingModule.validation_step

    def noted(module: TrainingModule, batch: dict[str, torch.Tensor], index: int) -> None:
        found.append(module.trainer.global_step)
        evaluate(module, batch, index)

    monkeypatch.setattr(TrainingModule, "validation_step", noted)
    return found


def run(tiny: Path, folder: Path, **trainer: Any) -> list[int]:
    """Two steps an epoch; the steps that a validation is recorded for."""
    values = alone(tiny, folder, exp_manager__create_checkpoint_callback=False, data__val_dir=str(tiny / "data"))
    values["trainer"] |= {"limit_train_batches": 2, "max_steps": 8, "limit_val_batches": 1, **trainer}
    path = train(values) / VALIDATIONS_FILE
    return [json.loads(line)["step"] for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize(
    ("keys", "steps"),
    [
        ({}, [2, 4, 6, 8]),
        ({"check_val_every_n_epoch": 2}, [4, 8]),
        ({"val_check_interval": 1}, [1, 2, 3, 4, 5, 6, 7, 8]),
        ({"val_check_interval": 0.5}, [1, 2, 3, 4, 5, 6, 7, 8]),
        ({"val_check_interval": 1.0}, [2, 4, 6, 8]),
        ({"val_check_interval": 3, "check_val_every_n_epoch": None}, [3, 6]),
        ({"val_check_interval": 9, "check_val_every_n_epoch": None}, []),
    ],
    ids=str,
)
def test_validations_are_at_these_steps(keys: dict[str, Any], steps: list[int], tiny: Path, tmp_path: Path) -> None:
    assert run(tiny, tmp_path, **keys) == steps


@pytest.mark.parametrize(("limit", "batches"), [(1, 1), (3, 3), (1.0, 8), (0.5, 4), (0, 0), (0.0, 0)])
def test_a_validation_is_of_so_many_batches(
    limit: float, batches: int, tiny: Path, tmp_path: Path, evaluated: list[int]
) -> None:
    run(tiny, tmp_path, limit_val_batches=limit, max_steps=2)
    assert evaluated == [2] * batches


@pytest.mark.parametrize(("wanted", "batches"), [(0, 0), (2, 2), (-1, 3)])
def test_the_check_at_the_start_is_of_so_many_batches_and_is_no_validation(
    wanted: int, batches: int, tiny: Path, tmp_path: Path, evaluated: list[int]
) -> None:
    assert run(tiny, tmp_path, num_sanity_val_steps=wanted, limit_val_batches=3, max_steps=2) == [2]
    assert evaluated == [0] * batches + [2] * 3


def test_a_resume_has_no_check_at_its_start(tiny: Path, tmp_path: Path, evaluated: list[int], trained: Path) -> None:
    values = alone(tiny, tmp_path, trainer__max_steps=5, data__val_dir=str(tiny / "data"))
    values["trainer"] |= {"limit_val_batches": 1, "num_sanity_val_steps": 1, "val_check_interval": 5}
    train(values, Start(1, str(checkpoint_at(trained, 4))))
    assert evaluated == [5]


def test_validation_that_is_off_needs_no_data(tiny: Path, tmp_path: Path) -> None:
    values = alone(tiny, tmp_path, exp_manager__create_checkpoint_callback=False, trainer__max_steps=1)
    values["trainer"] |= {"limit_val_batches": 0.0, "num_sanity_val_steps": 2}
    train(values)
    assert not (tmp_path / VALIDATIONS_FILE).exists()
