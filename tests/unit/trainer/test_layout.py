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
@pytest.mark.parametrize("with_names", [True, False])
@pytest.mark.parametrize("prefix", [None, "run"])
@pytest.mark.parametrize("version", [0, 2])
def test_a_name_is_that_of_lightning(
    template: str | None, with_names: bool, prefix: str | None, version: int, tmp_path: Path
) -> None:
    callback = ModelCheckpoint(dirpath=tmp_path, filename=template, auto_insert_metric_name=with_names)
    stem = callback._format_checkpoint_name(template, dict(VALUES), prefix=prefix, auto_insert_metric_name=with_names)
    wanted = f"{stem}-v{version}.ckpt" if version else f"{stem}.ckpt"
    assert layout.CheckpointNaming(template, prefix, None, with_names).name(VALUES, version) == wanted


def test_a_postfix_stands_before_the_suffix() -> None:
    for postfix in ("-final", "-final.ckpt"):
        assert layout.CheckpointNaming("{step}", postfix=postfix).name({"step": 3}) == "step=3-final.ckpt"


def test_a_name_is_never_a_path() -> None:
    naming = layout.CheckpointNaming("{val/loss}-{step}")
    assert naming.name({"val/loss": 1.5, "step": 3}) == "val_loss=1.5-step=3.ckpt"


def test_the_last_copy_is_recognised() -> None:
    folder = Path("/log/checkpoints/x--step=3.ckpt")
    assert layout.last_of(folder) == Path("/log/checkpoints/x--step=3-last.ckpt")
    assert layout.is_last(layout.last_of(folder))
    assert not layout.is_last(folder)
