"""The whole loop on one process: its numbers are those of a plain loop over transformers; a start continues another."""

import json
import math
import shutil
from itertools import groupby
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
import transformers

from distributed.tiny import MODEL
from neuron_api import contract
from neuron_api.resource.progress import Progress
from neuron_trainer.checkpoint import complete
from neuron_trainer.checkpoint.manifest import read as read_manifest
from neuron_trainer.ipc.worker_channel import Start, WorkerChannel
from neuron_trainer.launcher.checkpoint_selector import CheckpointSelector
from neuron_trainer.loop.module import TrainingModule
from neuron_trainer.metrics.history import VALIDATIONS_FILE
from neuron_trainer.models.family import Family

from .conftest import alone, train, typed

pytestmark = [pytest.mark.usefixtures("one_process"), pytest.mark.slow]


def lines(folder: Path) -> list[dict[str, Any]]:
    """Of each step the last one."""
    found = [json.loads(line) for line in (folder / contract.METRICS_FILE).read_text().splitlines()]
    newest = {line["step"]: line for line in found}
    return [newest[step] for step in sorted(newest)]


def numbers(folder: Path) -> list[tuple[float, ...]]:
    return [(m["step"], m["loss"], m["lr"], m["gradient_norm"], m["consumed_samples"]) for m in lines(folder)]


def checkpoint_at(folder: Path, step: int) -> Path:
    (found,) = (folder / contract.CHECKPOINTS_DIR).glob(f"*step={step}-*")
    return found


def test_losses_norms_and_rates_are_those_of_a_plain_loop_over_transformers(tiny: Path, tmp_path: Path) -> None:
    steps, clip, micro = 12, 0.7, 2
    values = alone(tiny, tmp_path / "log", trainer__max_steps=steps, trainer__gradient_clip_val=clip)
    values["model"]["optim"] = {
        "name": "adamw", "lr": 0.01, "weight_decay": 0.0, "betas": [0.9, 0.95],
        "sched": {"name": "LinearAnnealingWithWarmUp", "warmup_steps": 4, "max_steps": 20},
    }  # fmt: skip
    found = lines(train(values))

    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**MODEL)).float()
    family = Family.from_config(typed(values))
    model.load_state_dict({name: family.init_parameter(name, p.shape) for name, p in model.named_parameters()})
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, betas=(0.9, 0.95), weight_decay=0.0)
    scheduler = transformers.get_linear_schedule_with_warmup(optimizer, 4, 20)
    rows = datasets.load_from_disk(str(tiny / "data")).with_format("torch")
    for step in range(steps):
        batch, losses = rows[8 * (step % 8) : 8 * (step % 8) + 8], []
        for ids, labels in zip(batch["input_ids"].split(micro), batch["labels"].split(micro), strict=True):
            loss = model(ids.long(), labels=labels.long()).loss / 4
            loss.backward()
            losses.append(loss.item())
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        assert found[step]["lr"] == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        assert found[step]["loss"] == pytest.approx(sum(losses), rel=1e-5)
        assert found[step]["gradient_norm"] == pytest.approx(norm.item(), rel=1e-4)
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()
    assert min(line["gradient_norm"] for line in found) > clip, "clipping was at work"


def test_each_logged_step_is_one_line_with_its_keys(trained: Path) -> None:
    assert [set(line) for line in lines(trained)] == [
        {"step", "loss", "lr", "gradient_norm", "consumed_samples", "tokens_per_second", "time"}
    ] * 6
    assert [(line["step"], line["consumed_samples"]) for line in lines(trained)] == [(s, 8 * s) for s in range(1, 7)]
    assert all(math.isfinite(value) for line in lines(trained) for value in line.values())


def test_only_every_nth_step_is_logged_when_asked(tiny: Path, tmp_path: Path, trained: Path) -> None:
    changes = {"trainer__max_steps": 6, "trainer__log_every_n_steps": 3, "exp_manager__log_parameter_norm": True}
    found = lines(train(alone(tiny, tmp_path, exp_manager__create_checkpoint_callback=False, **changes)))
    assert [line["step"] for line in found] == [3, 6]
    assert [line["loss"] for line in found] == [lines(trained)[2]["loss"], lines(trained)[5]["loss"]]
    assert all(line["parameter_norm"] > 0 for line in found)


@pytest.mark.parametrize("step", [2, 4])
def test_a_start_from_a_checkpoint_continues_bit_for_bit(step: int, tiny: Path, tmp_path: Path, trained: Path) -> None:
    folder = tmp_path / "log"
    shutil.copytree(trained, folder)  # the metrics of the steps after the checkpoint are to be written again
    train(alone(tiny, folder, trainer__max_steps=6), Start(1, str(checkpoint_at(folder, step)), last_step=6))
    assert numbers(folder) == numbers(trained)


@pytest.mark.parametrize("past", [False, True])
def test_a_run_at_its_last_step_is_only_taken_up_again_where_that_is_asked_for(
    past: bool, tiny: Path, tmp_path: Path, trained: Path
) -> None:
    folder = tmp_path / "log"
    shutil.copytree(trained, folder)
    values = alone(tiny, folder, trainer__max_steps=6, exp_manager__resume_past_end=past)
    assert (CheckpointSelector(typed(values), folder, "").finished() is None) is past
    train(values, Start(1, str(checkpoint_at(folder, 6)), last_step=6))
    assert numbers(folder) == numbers(trained), "it ends where it was"


@pytest.fixture(scope="module")
def three_epochs(tiny: Path, one_process: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """19 steps over 64 rows (8 steps an epoch), a checkpoint after each."""
    return train(alone(tiny, tmp_path_factory.mktemp("epochs"), **THREE_EPOCHS))


THREE_EPOCHS = {
    "trainer__max_steps": 19,
    "exp_manager__checkpoint_callback_params__every_n_train_steps": 1,
    "exp_manager__checkpoint_callback_params__save_top_k": -1,
}


@pytest.mark.parametrize("step", [7, 8, 9, 16], ids=lambda step: f"after-{step}")
def test_the_position_in_the_data_is_kept_over_epochs(
    step: int, tiny: Path, tmp_path: Path, three_epochs: Path
) -> None:
    start = Start(1, str(checkpoint_at(three_epochs, step)), last_step=step)
    assert numbers(train(alone(tiny, tmp_path, **THREE_EPOCHS), start)) == numbers(three_epochs)[step:]
    assert read_manifest(checkpoint_at(tmp_path, 19)).epoch == read_manifest(checkpoint_at(three_epochs, 19)).epoch == 2


def test_bare_weights_begin_at_step_0(tiny: Path, tmp_path: Path, trained: Path) -> None:
    folder = tmp_path / "log"
    values = alone(tiny, folder, trainer__max_steps=2, model__weight_init_only=True)
    found = lines(train(values, Start(0, str(checkpoint_at(trained, 6)), weights_only=True)))
    assert [(line["step"], line["lr"], line["consumed_samples"]) for line in found] == [
        (1, lines(trained)[0]["lr"], 8), (2, lines(trained)[1]["lr"], 16),
    ]  # fmt: skip
    assert found[0]["loss"] < lines(trained)[0]["loss"] - 0.01, "the weights have learned"


def test_save_top_k_keeps_the_newest_and_the_manifest_tells_what_they_are(tiny: Path, tmp_path: Path) -> None:
    changes = {"every_n_train_steps": 2, "save_top_k": 2, "save_last": True}
    values = alone(tiny, tmp_path, trainer__max_steps=7)
    values["exp_manager"]["checkpoint_callback_params"] |= changes
    folder = train(values) / contract.CHECKPOINTS_DIR
    assert sorted(path.name for path in folder.iterdir()) == [
        "tiny--step=6-consumed_samples=48.0.ckpt",
        "tiny--step=7-consumed_samples=56.0-last.ckpt",
        "tiny--step=7-consumed_samples=56.0.ckpt",
    ]
    assert [one.step for one in complete(folder)] == [7, 7, 6]
    manifest = read_manifest(folder / "tiny--step=6-consumed_samples=48.0.ckpt")
    assert (manifest.step, manifest.consumed_samples, manifest.global_batch_size) == (6, 48, 8)
    assert manifest.architecture["num_key_value_heads"] == 2
    assert manifest.metrics["reduced_train_loss"] == lines(tmp_path)[5]["loss"]


def test_save_top_k_keeps_the_best_by_the_monitored_metric(tiny: Path, tmp_path: Path) -> None:
    values = alone(tiny, tmp_path, trainer__max_steps=8)
    values["exp_manager"]["checkpoint_callback_params"] |= {
        "every_n_train_steps": 1, "save_top_k": 3, "monitor": "reduced_train_loss", "mode": "min",
    }  # fmt: skip
    folder = train(values)
    losses = {line["step"]: line["loss"] for line in lines(folder)}
    best = sorted(losses, key=lambda step: losses[step])[:3]
    kept = {one.step for one in complete(folder / contract.CHECKPOINTS_DIR)}
    assert kept == {*best, 8}, "the newest is kept, too: a restart takes it up"


BY_VALIDATION: dict[str, Any] = {
    "trainer__limit_val_batches": 2, "trainer__val_check_interval": 2,
    "exp_manager__checkpoint_callback_params__every_n_train_steps": 2,
    "exp_manager__checkpoint_callback_params__monitor": "val_loss",
    "exp_manager__checkpoint_callback_params__mode": "min",
    "exp_manager__checkpoint_callback_params__filename": "tiny--{step}-{consumed_samples}-{val_loss:.6f}",
}  # fmt: skip


def validations(folder: Path) -> list[tuple[int, float]]:
    found = [json.loads(line) for line in (folder / VALIDATIONS_FILE).read_text().splitlines()]
    return sorted({one["step"]: one["val_loss"] for one in found}.items())


@pytest.fixture(scope="module")
def by_validation(tiny: Path, one_process: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 steps over 8 an epoch, a validation and a checkpoint after every second one, all kept."""
    changes = {**BY_VALIDATION, "exp_manager__checkpoint_callback_params__save_top_k": -1}
    folder = tmp_path_factory.mktemp("by-validation")
    return train(alone(tiny, folder, trainer__max_steps=12, data__val_dir=str(tiny / "data"), **changes))


def test_a_checkpoint_has_the_validation_of_its_own_step(by_validation: Path) -> None:
    losses = validations(by_validation)
    assert [step for step, _ in losses] == [2, 4, 6, 8, 10, 12]
    found = complete(by_validation / contract.CHECKPOINTS_DIR)
    assert {one.step: one.manifest.metrics["val_loss"] for one in found} == dict(losses)
    assert {one.path.name.rpartition("=")[2] for one in found} == {f"{loss:.6f}.ckpt" for _, loss in losses}


@pytest.mark.parametrize(("step", "skips"), [(4, True), (8, True), (10, True), (4, False), (8, False)])
def test_a_start_from_a_checkpoint_after_its_validation_is_the_unbroken_run(
    step: int, skips: bool, tiny: Path, tmp_path: Path, by_validation: Path
) -> None:
    folder = tmp_path / "log"
    shutil.copytree(by_validation, folder)
    values = alone(tiny, folder, trainer__max_steps=12, data__val_dir=str(tiny / "data"), **BY_VALIDATION)
    values["exp_manager"]["disable_validation_on_resume"] = skips
    train(values, Start(1, str(checkpoint_at(folder, step)), last_step=12))
    assert numbers(folder) == numbers(by_validation)
    assert validations(folder) == validations(by_validation)


def test_a_kill_in_a_validation_costs_the_steps_since_the_checkpoint_and_no_validation(
    tiny: Path, tmp_path: Path, by_validation: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever checkpoints are ranked by: one is written after the validation of its step."""
    changes = {key: value for key, value in BY_VALIDATION.items() if not key.endswith(("__monitor", "__mode"))}
    values = alone(tiny, tmp_path, trainer__max_steps=12, data__val_dir=str(tiny / "data"), **changes)
    evaluated: list[int] = []

    def breaks(module: TrainingModule, *_: Any) -> None:
        evaluated.append(module.trainer.global_step)
        if module.trainer.global_step == 6:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(TrainingModule, "on_validation_batch_end", breaks, raising=False)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train(values)
    assert evaluated == [2, 2, 4, 4, 6]
    (newest, *_) = complete(tmp_path / contract.CHECKPOINTS_DIR)
    assert newest.step == 4
    train(values, Start(1, str(newest.path), last_step=6))
    assert numbers(tmp_path) == numbers(by_validation)
    assert validations(tmp_path) == validations(by_validation)


def test_the_last_checkpoint_may_have_no_validation_and_ranks_last_aloud(
    tiny: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    changes = {**BY_VALIDATION, "data__val_dir": str(tiny / "data")}
    folder = train(alone(tiny, tmp_path, trainer__max_steps=5, **changes))
    metrics = {one.step: one.manifest.metrics for one in complete(folder / contract.CHECKPOINTS_DIR)}
    assert "val_loss" not in metrics[5], "the newest is kept"
    assert metrics.keys() == {2, 4, 5}
    assert "the checkpoint of step 5 ranks last by monitor val_loss: there is no validation after it" in caplog.text


@pytest.mark.parametrize("off", [{"exp_manager__create_checkpoint_callback": False},
                                 {"exp_manager__checkpoint_callback_params__save_top_k": 0}])  # fmt: skip
def test_no_checkpoint_is_written_when_they_are_off(off: dict[str, Any], tiny: Path, tmp_path: Path) -> None:
    train(alone(tiny, tmp_path, trainer__max_steps=5, **off))
    assert not (tmp_path / contract.CHECKPOINTS_DIR).exists()


def test_validation_does_not_change_training(tiny: Path, tmp_path: Path, trained: Path) -> None:
    validation = {
        "trainer__limit_val_batches": 2,
        "trainer__val_check_interval": 2,
        "data__val_dir": str(tiny / "data"),
    }
    folder = train(alone(tiny, tmp_path, trainer__max_steps=6, **validation))
    assert numbers(folder) == numbers(trained)
    (final,) = complete(folder / contract.CHECKPOINTS_DIR)[:1]
    assert final.manifest.metrics["val_loss"] < numbers(trained)[0][1], "on the rows of the first two steps"


SELECTED = {
    "model__activations_checkpoint_granularity": "selective",
    "model__activations_checkpoint_recompute": ["CoreAttention", "LlamaMLP"],
}


@pytest.mark.parametrize("recompute", [{"model__activations_checkpoint_granularity": "full"}, SELECTED])
def test_recompute_changes_no_number(recompute: dict[str, Any], tiny: Path, tmp_path: Path, trained: Path) -> None:
    off = {"exp_manager__create_checkpoint_callback": False}
    assert numbers(train(alone(tiny, tmp_path, trainer__max_steps=6, **off, **recompute))) == numbers(trained)


def test_mixed_precision_stays_near_fp32(tiny: Path, tmp_path: Path, trained: Path) -> None:
    off = {"exp_manager__create_checkpoint_callback": False}
    values = alone(tiny, tmp_path, trainer__max_steps=6, precision__type="mixed_precision", **off)
    for found, wanted in zip(numbers(train(values)), numbers(trained), strict=True):
        assert found[1] == pytest.approx(wanted[1], rel=1e-2)
        assert found[1] != wanted[1]


class Recorded(WorkerChannel):
    """Remembers every phase that is reported."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.phases: list[str] = []

    def write_progress(self, report: Progress) -> None:
        super().write_progress(report)
        self.phases.append(report.phase)


def test_saves_and_validations_are_reported_while_they_last(tiny: Path, tmp_path: Path, one_process: None) -> None:
    handoff = Recorded(tmp_path / "handoff")
    handoff.folder.mkdir()
    values = alone(
        tiny, tmp_path / "log", trainer__max_steps=4, trainer__limit_val_batches=2, trainer__val_check_interval=3,
        trainer__num_sanity_val_steps=1, data__val_dir=str(tiny / "data"),
        exp_manager__checkpoint_callback_params__every_n_train_steps=2,
    )  # fmt: skip
    train(values, Start(0), handoff)
    seen = [str(phase) for phase, _ in groupby(handoff.phases)]
    assert seen == [
        "Loading",
        "Training",
        "Saving",
        "Training",
        "Validating",
        "Training",
        "Saving",
        "Training",
        "Saving",
    ]


def test_progress_of_the_worker_is_handed_over(tiny: Path, tmp_path: Path, trained: Path) -> None:
    handoff = WorkerChannel(tmp_path / "handoff")
    handoff.folder.mkdir()
    start = Start(1, str(checkpoint_at(trained, 4)), last_step=5)
    train(alone(tiny, tmp_path / "log", trainer__max_steps=6), start, handoff)
    report = handoff.read_progress()
    assert report is not None
    assert (report.phase, report.round, report.step) == ("Saving", 1, 6)
    assert report.loss == lines(trained)[5]["loss"]
    assert report.checkpoint is not None
    assert report.checkpoint.step == 6
    (recovery,) = report.recoveries
    assert (recovery.round, recovery.resumed_from_step, recovery.steps_lost) == (1, 4, 1)
    assert recovery.first_step_time is not None
