"""Every file of a run is JSON for every reader: a number that is not finite is null, and counted.

The kind: `NaN` and `Infinity`, which Python writes and no other reader takes (jq, JavaScript, BigQuery). Tried: steps,
validations, the progress report, a checkpoint's manifest with a loss that ranks it, and the files of older releases.
"""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from neuron_api import contract
from neuron_api.resource import progress
from neuron_api.resource.progress import Progress
from neuron_trainer import parallel
from neuron_trainer.checkpoint import complete
from neuron_trainer.loop.step import Gradients
from neuron_trainer.metrics.history import MetricsFile, StepMetrics, ValidationMetrics
from neuron_trainer.parallel import Outcome
from neuron_trainer.storage import files

from .conftest import alone, train


def strict(text: str) -> Any:
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_a_number_that_is_not_finite_is_null_wherever_it_stands() -> None:
    value = {"a": math.nan, "b": [math.inf, {"c": (-math.inf, 1.5)}], "d": "NaN", "e": None, "f": True}
    assert strict(files.json_dumps(value)) == {
        "a": None, "b": [None, {"c": [None, 1.5]}], "d": "NaN", "e": None, "f": True,
    }  # fmt: skip


def test_steps_and_validations_are_read_back_as_they_were(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / contract.METRICS_FILE)
    file.append(StepMetrics(1, 2.5, 0.1, math.inf, 8, math.nan, 1.0, nonfinite_steps=1))
    file.append(ValidationMetrics(1, math.nan, 1.0))
    line = strict(file.path.read_text())
    assert (line["gradient_norm"], line["tokens_per_second"], line["nonfinite_steps"]) == (None, None, 1)
    assert strict((tmp_path / "validations.jsonl").read_text())["val_loss"] is None
    history = file.history()
    assert math.isnan(history.steps[0].gradient_norm)
    assert math.isnan(history.validations[0].val_loss)


def test_files_of_older_releases_are_still_read(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / contract.METRICS_FILE)
    file.path.write_text('{"step": 1, "loss": 2.0, "lr": 0.1, "gradient_norm": NaN, "consumed_samples": 8, '
                         '"tokens_per_second": Infinity, "time": 1.0}\n')  # fmt: skip
    (step,) = file.history().steps
    assert math.isnan(step.gradient_norm)


def test_a_progress_report_is_json_too() -> None:
    text = progress.to_json(Progress(step=3, loss=math.nan, tokens_per_second=math.inf))
    assert strict(text).get("loss") is None
    assert progress.from_json(text).loss is None


@pytest.mark.slow
@pytest.mark.usefixtures("one_process")
def test_a_run_whose_validation_and_norms_are_not_finite_leaves_json(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a checkpoint that can be read: a manifest with a null for a number could not be."""
    norm = torch.tensor(math.inf, dtype=torch.float64)
    reduce = Gradients._reduce

    def broken(self: Gradients, *arguments: Any) -> Any:
        sums = reduce(self, *arguments)
        return type(sums)(sums.loss, norm, sums.share)

    create = parallel.create

    def create_broken(*arguments: Any) -> Any:
        backend: Any = create(*arguments)
        backend.evaluate = lambda _: Outcome(torch.tensor(math.nan), {})
        return backend

    monkeypatch.setattr(parallel, "create", create_broken)
    values = alone(tiny, tmp_path, trainer__max_steps=4, trainer__limit_val_batches=1, trainer__val_check_interval=2)
    values["data"]["val_dir"] = str(tiny / "data")
    values["exp_manager"]["checkpoint_callback_params"] |= {"every_n_train_steps": 2}
    train(values)
    assert [strict(line)["val_loss"] for line in (tmp_path / "validations.jsonl").read_text().splitlines()] == [
        None
    ] * 2
    newest = complete(tmp_path / contract.CHECKPOINTS_DIR)[0]
    strict((newest.path / contract.CHECKPOINT_MANIFEST).read_text())
    assert newest.step == 4
    assert "val_loss" not in newest.manifest.metrics

    monkeypatch.setattr(Gradients, "_reduce", broken)
    values["exp_manager"] |= {"explicit_log_dir": str(tmp_path / "b"), "create_checkpoint_callback": False}
    train(values)
    lines = [strict(line) for line in (tmp_path / "b" / contract.METRICS_FILE).read_text().splitlines()]
    assert [(line["gradient_norm"], line["nonfinite_steps"]) for line in lines] == [(None, n) for n in (1, 2, 3, 4)]
