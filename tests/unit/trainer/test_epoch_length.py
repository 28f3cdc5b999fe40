"""A limit that is less than one batch, or an interval that no epoch reaches, is a finding before any process starts.

The kind: Lightning checks its arguments against the length of the data when the loop begins, in every process, with a
traceback and exit code 1. Its own functions are the oracle here, over limits, intervals and lengths: what it refuses is
refused by `epoch`, and nothing else. Of its checks in the set-up of a fit (2.6) the others need no data and are the
codes NTJ-2102, 2105, 2106, 2107 and 2109, or cannot be reached: the data sets have lengths, and there is one loader.
"""

from itertools import product
from pathlib import Path
from typing import Any

import pytest
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.trainer.connectors.data_connector import _parse_num_batches
from lightning.pytorch.trainer.states import RunningStage

from distributed.tiny import write_rows
from neuron_api.config import TrainingConfig
from neuron_api.loading.loader import load_object
from neuron_trainer.data import epoch
from neuron_trainer.data.loader import batches

BATCH = 2


def configured(**trainer: Any) -> TrainingConfig:
    config = load_object(
        {
            "name": "tiny",
            "model_source": "hf",
            "seed": 1,
            "trainer": {"devices": 1, "max_steps": 100, **trainer},
            "exp_manager": {"checkpoint_callback_params": {"every_n_train_steps": 5}},
            "distributed_strategy": {},
            "data": {"micro_batch_size": 1, "global_batch_size": BATCH, "train_dir": "/t", "val_dir": "/v"},
            "model": {"model_config": "/c", "encoder_seq_length": 32, "optim": {"name": "adamw", "lr": 1e-3}},
            "precision": {"type": "fp32"},
        }
    ).config
    assert config is not None
    return config


def found(config: TrainingConfig, train: int, validation: int = 12) -> list[tuple[str, str]]:
    return [
        (str(one.severity), one.key) for one in epoch.check_lengths(config, {"train": train, "validation": validation})
    ]


SHARES = (0.001, 0.01, 0.3, 0.49, 0.5, 0.999, 1.0)
LENGTHS = (1, 2, 3, 6, 10, 155)


@pytest.mark.parametrize(("share", "length"), list(product(SHARES, LENGTHS)))
def test_a_share_of_the_validation_is_refused_where_lightning_refuses_it(share: float, length: int) -> None:
    config = configured(limit_val_batches=str(share), val_check_interval=1)
    try:
        refuses = _parse_num_batches(RunningStage.VALIDATING, length, share) == 0
    except MisconfigurationException:
        refuses = True
    expected = [("error", "trainer.limit_val_batches")] if refuses else []
    assert found(config, 155 * BATCH, length * BATCH) == expected


@pytest.mark.parametrize(("share", "length"), list(product(SHARES, LENGTHS)))
def test_a_share_of_the_training_is_never_rounded_up_to_one_batch(share: float, length: int) -> None:
    """F16: 0.001 of 155 batches was one batch, trained again and again."""
    for key in ("limit_train_batches", "overfit_batches"):
        problems = list(epoch.check_lengths(configured(**{key: str(share)}), {"train": length * BATCH}))
        assert [one.key for one in problems] == ([f"trainer.{key}"] if int(share * length) < 1 else [])


@pytest.mark.parametrize("share", [0.001, 0.3])
def test_the_remedy_is_a_share_that_is_enough(share: float) -> None:
    config = configured(limit_train_batches=str(share))
    [one] = epoch.check_lengths(config, {"train": 3 * BATCH})
    enough = float(one.remedy.split()[1])
    assert list(epoch.check_lengths(configured(limit_train_batches=str(enough)), {"train": 3 * BATCH})) == []


@pytest.mark.parametrize(("interval", "length"), list(product((1, 10, 21, 30, 100), (10, 21, 155))))
def test_an_interval_is_refused_where_an_epoch_is_shorter(interval: int, length: int) -> None:
    """As `_FitLoop.setup_data`: the interval counts within an epoch unless check_val_every_n_epoch is null."""
    one = configured(val_check_interval=interval, limit_val_batches=2)
    assert found(one, length * BATCH) == ([("error", "trainer.val_check_interval")] if interval > length else [])
    over_epochs = configured(val_check_interval=interval, limit_val_batches=2, check_val_every_n_epoch=None)
    assert found(over_epochs, length * BATCH) == []
    off = configured(val_check_interval=interval, limit_val_batches=0)
    assert found(off, length * BATCH) == []


def test_the_epoch_is_the_limited_one() -> None:
    limited = configured(val_check_interval=30, limit_val_batches=2, limit_train_batches="0.1")
    assert found(limited, 155 * BATCH) == [("error", "trainer.val_check_interval")]
    overfit = configured(val_check_interval=3, limit_val_batches=2, overfit_batches="0.5")
    assert found(overfit, 4 * BATCH) == [("error", "trainer.val_check_interval")]


def test_a_run_that_its_epochs_end_before_its_first_checkpoint_is_warned_of() -> None:
    key = "exp_manager.checkpoint_callback_params.every_n_train_steps"
    assert found(configured(max_epochs=1), 5 * BATCH) == [("warning", key)]
    assert found(configured(max_epochs=2), 5 * BATCH) == []
    assert found(configured(max_epochs=1, max_steps=4), 10 * BATCH) == [], "NTJ-2220 of the configuration says it"


def test_the_data_is_opened_only_where_its_length_matters(tmp_path: Path) -> None:
    assert epoch.check(configured(), ["train", "validation"]) == []  # /t and /v are not there
    rows = tmp_path / "rows"
    write_rows(rows, rows=6 * BATCH, length=32)
    config = configured(val_check_interval=30, limit_val_batches="0.01")
    data = config.data.model_copy(update={"train_dir": str(rows), "val_dir": str(rows)})
    problems = epoch.check(config.model_copy(update={"data": data}), ["train", "validation"])
    assert [one.key for one in problems] == ["trainer.limit_val_batches", "trainer.val_check_interval"]
    assert "0.01 of the 6 batches of val is less than one." in problems[0].message


@pytest.mark.parametrize(("samples", "limit"), list(product((0, 1, 4, 5, 9), (None, 0, 1, 3, 0.5, 1.0))))
def test_batches_of_an_epoch(samples: int, limit: float | None) -> None:
    full = batches(samples, BATCH, keeps_rest=False, limit=limit)
    rest = batches(samples, BATCH, keeps_rest=True, limit=limit)
    assert 0 <= full <= rest <= full + 1
    assert full <= samples // BATCH
