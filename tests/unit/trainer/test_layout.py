"""Names of checkpoints are those that Lightning gives."""

from pathlib import Path

import pytest
from lightning.pytorch.callbacks import ModelCheckpoint

from neuron_trainer.checkpoint import layout

VALUES = {"step": 10, "epoch": 2, "consumed_samples": 10240.0, "val_loss": 1.23456789, "reduced_train_loss": 0.1}
TEMPLATES = [
    None,
    "{epoch}-{step}",
    "hf_llama3_8B--{step}-{consumed_samples}",
    "{step:06d}",
    "x-{val_loss:.2f}-{reduced_train_loss}",
    "{consumed_samples:.0f}",
    "plain",
    "{epoch}_{step}_{missing}",
]


@pytest.mark.parametrize("template", TEMPLATES, ids=str)
def test_a_name_is_that_of_lightning(template: str | None, tmp_path: Path) -> None:
    callback = ModelCheckpoint(dirpath=tmp_path, filename=template)
    wanted = Path(callback.format_checkpoint_name(dict(VALUES))).name  # type: ignore[arg-type]
    assert layout.name(template, VALUES) == wanted


def test_a_name_is_never_a_path() -> None:
    assert layout.name("{val/loss}-{step}", {"val/loss": 1.5, "step": 3}) == "val_loss=1.5-step=3.ckpt"


def test_the_last_copy_is_recognised() -> None:
    folder = Path("/log/checkpoints/x--step=3.ckpt")
    assert layout.last_of(folder) == Path("/log/checkpoints/x--step=3-last.ckpt")
    assert layout.is_last(layout.last_of(folder))
    assert not layout.is_last(folder)
