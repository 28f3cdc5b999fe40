"""A resumed run goes on with the file's learning rate: its curve at that step, whatever the checkpoint came from.

The kind: hyperparameters that a library restores from a checkpoint over those of the file (transformers#27749,
Lightning's `base_lrs`, `_last_lr`, and the patience of early stopping). All schedules are tried with each of their
arguments changed, and the end moved.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from neuron_api import contract
from neuron_trainer import optim
from neuron_trainer.errors import DivergenceError
from neuron_trainer.ipc.worker_channel import Start

from .conftest import alone, train, typed

pytestmark = [pytest.mark.usefixtures("one_process"), pytest.mark.slow]
DONE = 10


def cosine(max_steps: int, lr: float, **sched: Any) -> dict[str, Any]:
    of_schedule = {"name": "CosineAnnealing", "warmup_steps": 2, "min_lr": 1e-5, **sched}
    return {"trainer__max_steps": max_steps, "model__optim": {"name": "adamw", "lr": lr, "sched": of_schedule}}


def policy(max_steps: int, lr: float) -> dict[str, Any]:
    optim = {"name": "adamw", "lr": lr, "sched": {"name": "WarmupPolicy"}}
    return {"trainer__max_steps": max_steps, "model__optim": optim}


def rates(folder: Path) -> dict[int, float]:
    lines = (folder / contract.METRICS_FILE).read_text().splitlines()
    return {line["step"]: line["lr"] for line in map(json.loads, lines)}


def resumed(tiny: Path, folder: Path, before: dict[str, Any], after: dict[str, Any]) -> dict[int, float]:
    """Rates of a run of 10 steps that is resumed with another file."""
    folder = train(alone(tiny, folder, **before))
    (checkpoint,) = (folder / contract.CHECKPOINTS_DIR).glob(f"*step={DONE}-*")
    return rates(train(alone(tiny, folder, **after), Start(1, str(checkpoint), last_step=DONE)))


EDITS = {
    "lr and end (transformers#27749)": (
        cosine(DONE, 1e-3), cosine(30, 1e-4), {11: 8.306e-5, 12: 7.894e-5, 13: 7.453e-5},
    ),
    "the end alone": (cosine(DONE, 1e-3), cosine(20, 1e-3), {11: 5.9096e-4}),
    "lr alone": (policy(DONE, 0.01), policy(12, 1e-4), {11: 1e-4, 12: 1e-4}),
    "lr and the floor": (cosine(DONE, 1e-3), cosine(12, 2e-3, min_lr=1e-3), {12: 1.02447e-3}),
    "warm-up": (cosine(DONE, 1e-3), cosine(20, 1e-3, warmup_steps=15), {11: 6.875e-4, 12: 7.5e-4}),
    "another schedule": (policy(DONE, 1e-3), cosine(20, 1e-3), {11: 5.9096e-4}),
    "a schedule without an end": (cosine(DONE, 1e-3), policy(12, 1e-3), {11: 1e-3}),
}  # fmt: skip


@pytest.mark.parametrize("edit", EDITS)
def test_the_rate_is_the_files_curve_at_that_step(edit: str, tiny: Path, tmp_path: Path) -> None:
    before, after, expected = EDITS[edit]
    found = resumed(tiny, tmp_path, before, after)
    assert {step: found[step] for step in expected} == pytest.approx(expected, rel=2e-4)
    config = typed(alone(tiny, tmp_path, **after))
    curve = optim.rates(config.model.optim, optim.Extent(config.trainer.max_steps, lambda: 8, 32))
    assert {step: rate for step, rate in found.items() if step > DONE} == pytest.approx(
        {step: curve(step - 1) for step in range(DONE + 1, config.trainer.max_steps + 1)}, rel=1e-12
    )


def test_the_advice_of_a_run_that_has_diverged_works(tiny: Path, tmp_path: Path) -> None:
    """ "Lower model.optim.lr": with the lower rate the same checkpoint goes on and does not diverge again."""
    (checkpoint,) = (train(alone(tiny, tmp_path, **policy(2, 1e-3))) / contract.CHECKPOINTS_DIR).glob("*.ckpt")
    start = Start(1, str(checkpoint), last_step=2)
    with pytest.raises(DivergenceError, match=r"Lower model\.optim\.lr"):
        train(alone(tiny, tmp_path, trainer__gradient_clip_val=None, **policy(5, 1e18)), start)
    found = rates(train(alone(tiny, tmp_path, trainer__gradient_clip_val=None, **policy(5, 1e-4)), start))
    assert found == pytest.approx({1: 1e-3, 2: 1e-3, 3: 1e-4, 4: 1e-4, 5: 1e-4})


@pytest.mark.parametrize("patience", [1, 4])
def test_early_stopping_has_the_files_patience(patience: int, tiny: Path, tmp_path: Path) -> None:
    """What it has counted is the checkpoint's: one look without an improvement at step 4, the next one at step 6."""
    values = alone(tiny, tmp_path, trainer__max_steps=20, data__val_dir=str(tiny / "data"), **WATCHED)
    values["exp_manager"]["checkpoint_callback_params"] |= {"every_n_train_steps": 1, "save_top_k": -1}
    values["exp_manager"]["early_stopping_callback_params"] = {"min_delta": 1000.0, "patience": 2}
    folder = train(values)
    assert max(rates(folder)) == 6
    (checkpoint,) = (folder / contract.CHECKPOINTS_DIR).glob("*step=5-*")
    values["exp_manager"]["early_stopping_callback_params"]["patience"] = patience
    assert max(rates(train(values, Start(1, str(checkpoint), last_step=6)))) == 2 + 2 * max(2, patience)


WATCHED = {
    "trainer__limit_val_batches": 1, "trainer__val_check_interval": 2, "trainer__check_val_every_n_epoch": None,
    "exp_manager__create_early_stopping_callback": True,
}  # fmt: skip
