"""A resume with an edited file: the value is the file's, or the start is refused; the text names each difference once.

The kind: values that come back from a checkpoint over those of the file, and files that cannot go on from it. Tried: 42
edits of one key, pairs of them, a checkpoint of an older release, another config.json under the same path, weights
alone. The pure comparison, with every documented key: tests/unit/api/test_resumption.py.
"""

import copy
import itertools
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from distributed.tiny import MODEL
from neuron_api import contract
from neuron_api.loading.loader import load_text
from neuron_trainer import optim
from neuron_trainer.checkpoint.reader import load_trainer_state
from neuron_trainer.errors import InputError
from neuron_trainer.ipc.worker_channel import Start, WorkerChannel
from neuron_trainer.launcher.checkpoint_selector import CheckpointSelector
from neuron_trainer.loop.run import Run
from neuron_trainer.loop.stopping import Stop
from neuron_trainer.metrics.history import open_history
from neuron_trainer.run_directory.resume import ResumeChoice

from .conftest import alone, train, typed

pytestmark = [pytest.mark.usefixtures("one_process"), pytest.mark.slow]
DONE = 2
EDITS: dict[str, tuple[Any, str]] = {
    # key: value in the file, words of its line
    "seed": (99, "the numbers change"),
    "trainer.max_steps": (9, "the rate is the file's curve"),
    "trainer.max_epochs": (5, "the rate is the file's curve"),
    "trainer.gradient_clip_val": (0.1, "the numbers change"),
    "trainer.log_every_n_steps": (1000, "the numbers do not change"),
    "trainer.limit_train_batches": (4, "the numbers change"),
    "trainer.max_time": ("00:01:00:00", "the file's from this step on"),
    "trainer.min_steps": (3, "the file's from this step on"),
    "trainer.detect_anomaly": (True, "the numbers do not change"),
    "exp_manager.log_parameter_norm": (True, "the numbers do not change"),
    "exp_manager.save_bf16": (True, "the file's from this step on"),
    "exp_manager.save_xser": (True, "the numbers do not change"),
    "exp_manager.async_checkpointing": (True, "the numbers do not change"),
    "exp_manager.resume_from_checkpoint": ("/elsewhere", "no effect"),
    "exp_manager.checkpoint_callback_params.every_n_train_steps": (1, "the file's from this step on"),
    "exp_manager.checkpoint_callback_params.save_top_k": (-1, "the file's from this step on"),
    "exp_manager.checkpoint_callback_params.monitor": ("reduced_train_loss", "the file's from this step on"),
    "exp_manager.checkpoint_callback_params.save_last": (True, "the file's from this step on"),
    "exp_manager.checkpoint_callback_params.filename": ("{step}", "the numbers do not change"),
    "data.micro_batch_size": (4, "the numbers change"),
    "data.global_batch_size": (16, "the numbers change"),
    "data.skip_warmup": (False, "the numbers do not change"),
    "data.drop_last": (False, "the numbers change"),
    "data.my_own": ("x", "the numbers change"),
    "model.max_position_embeddings": (64, "the numbers change"),
    "model.rope_theta": (5e5, "the numbers change"),
    "model.do_layer_norm_weight_decay": (True, "the numbers change"),
    "model.activations_checkpoint_granularity": ("full", "the numbers do not change"),
    "model.fusions.flash_attention": (True, "the numbers change by rounding"),
    "model.optim.lr": (1e-4, "the rate is the file's curve"),
    "model.optim.weight_decay": (0.3, "the numbers change"),
    "model.optim.betas": ([0.7, 0.8], "the numbers change"),
    "model.optim.eps": (1e-3, "the numbers change"),
    "model.optim.sched.name": ("CosineAnnealing", "the rate is the file's curve"),
    "model.optim.sched.warmup_steps": (20, "the rate is the file's curve"),
    "model.optim.sched.max_steps": (9, "the rate is the file's curve"),
    "distributed_strategy.zero1": (False, "the numbers change by rounding"),
    "precision.type": ("mixed_precision", "the numbers change"),
    "name": ("another", "the numbers do not change"),
}
"""The base has adamw; 64 rows in batches of 8."""
REFUSED: dict[str, tuple[Any, str]] = {
    "model.optim.amsgrad": (True, "written with false"),
    "model.optim.name": ("adam", 'written with "adamw"'),
    "model.num_layers": (1, "num_hidden_layers 2 there, 1 here"),
    "model.hidden_size": (64, "hidden_size 32 there, 64 here"),
}
BASE = {
    "trainer__max_steps": 12,
    "model__optim": {"name": "adamw", "lr": 3e-3, "sched": {"name": "LinearAnnealingWithWarmUp", "warmup_steps": 5}},
}


def edited(values: dict[str, Any], *keys: str) -> dict[str, Any]:
    values = copy.deepcopy(values)
    for key in keys:
        *parents, name = key.split(".")
        node = values
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = {**EDITS, **REFUSED}[key][0]
    return values


@pytest.fixture(scope="module")
def before(tiny: Path, one_process: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Log directory of a run that was stopped after two steps. Read only."""
    votes = iter(range(1, 100))  # one in every step
    folder = tmp_path_factory.mktemp("before")
    return train(alone(tiny, folder, **BASE), wants_stop=lambda: next(votes) >= DONE)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """Those that were trained."""
    found: list[Run] = []
    fit = Run.fit

    def record(run: Run, *arguments: Any, **keys: Any) -> Stop:
        found.append(run)
        return fit(run, *arguments, **keys)

    monkeypatch.setattr(Run, "fit", record)
    return found


def choose(values: dict[str, Any], before: Path) -> ResumeChoice:
    """What the launcher takes up, in the log directory of the run before."""
    there = {**values, "exp_manager": {**values["exp_manager"], "explicit_log_dir": str(before)}}
    return CheckpointSelector(typed(there), before, "").choose()


def keys_of(text: Sequence[str]) -> list[str]:
    return [line.partition(": ")[0] for line in text[1:]]


def resume(values: dict[str, Any], before: Path) -> ResumeChoice:
    """And one step."""
    choice = choose(values, before)
    start = Start(1, choice.checkpoint, last_step=DONE, text=list(choice.text))
    train(values, start, wants_stop=lambda: True)
    return choice


@pytest.mark.parametrize("key", EDITS)
def test_an_edit_is_told_and_everything_is_the_files(
    key: str, tiny: Path, tmp_path: Path, before: Path, runs: list[Run]
) -> None:
    values = edited(alone(tiny, tmp_path, **BASE), key)
    choice = resume(values, before)
    assert keys_of(choice.text) == [key]
    assert EDITS[key][1] in choice.text[1]
    (run,) = runs
    module, config = run.module, run.module.config
    fresh = optim.build(config.model, module.backend.parameters()).param_groups
    same = [{k: v for k, v in group.items() if k not in ("params", "lr", "initial_lr")} for group in fresh]
    assert [
        {name: group[name] for name in one} for group, one in zip(module.optimizer.param_groups, same, strict=True)
    ] == same
    curve = optim.rates(config.model.optim, optim.Extent(module.total_steps or 12, lambda: module.epoch_steps, 32))
    assert module.optimizer.param_groups[0]["lr"] == pytest.approx(curve(DONE + 1), rel=1e-12), "of the step after it"
    if config.trainer.log_every_n_steps == 1:
        (line,) = open_history(tmp_path).history().steps
        assert (line.step, line.lr) == (DONE + 1, pytest.approx(curve(DONE), rel=1e-12))
    assert [record.resume for record in open_history(tmp_path).history().starts] == [list(choice.text)]


@pytest.mark.parametrize("pair", [*itertools.islice(itertools.combinations(EDITS, 2), 0, None, 20)], ids="+".join)
def test_pairs_of_edits_are_told_each_once(pair: tuple[str, str], tiny: Path, tmp_path: Path, before: Path) -> None:
    values = edited(alone(tiny, tmp_path, **BASE), *pair)
    if load_text(yaml.safe_dump(values)).config is None:
        return  # the two do not go together: refused before anything is resumed
    assert sorted(keys_of(choose(values, before).text)) == sorted(pair)


@pytest.mark.parametrize("key", REFUSED)
def test_what_the_state_means_nothing_for_is_refused_with_the_way_out(
    key: str, tiny: Path, tmp_path: Path, before: Path
) -> None:
    with pytest.raises(InputError) as refusal:
        choose(edited(alone(tiny, tmp_path, **BASE), key), before)
    text = str(refusal.value)
    assert REFUSED[key][1] in text
    assert "another log directory" in text.lower()
    if key.startswith("model.optim"):
        assert key in text
        assert "model.weight_init_only: True" in text


def test_the_way_out_works(tiny: Path, tmp_path: Path, before: Path) -> None:
    (checkpoint,) = (before / contract.CHECKPOINTS_DIR).glob("*.ckpt")
    values = edited(alone(tiny, tmp_path / "new", **BASE, model__weight_init_only=True), "model.optim.name")
    values["exp_manager"]["resume_from_checkpoint"] = str(checkpoint)
    choice = CheckpointSelector(typed(values), tmp_path / "new", "").choose()
    assert choice == ResumeChoice(str(checkpoint), weights_only=True)
    train(values, Start(0, choice.checkpoint, weights_only=True), wants_stop=lambda: True)


def test_without_an_edit_the_text_says_so_and_everybody_has_it(tiny: Path, tmp_path: Path, before: Path) -> None:
    handoff = WorkerChannel(tmp_path / "handoff")
    handoff.folder.mkdir()
    values = alone(tiny, tmp_path / "log", **BASE)
    choice = choose(values, before)
    assert choice.text == ("resume at step 2: the configuration is the one that the checkpoint was written with.",)
    train(values, Start(1, choice.checkpoint, text=list(choice.text)), handoff, wants_stop=lambda: True)
    report = handoff.read_progress()
    assert report is not None
    assert report.resume == choice.text
    assert open_history(tmp_path / "log").history().starts[0].resume == list(choice.text)


def test_an_edit_of_a_batch_size_that_does_not_divide_says_what_is_read_again(
    tiny: Path, tmp_path: Path, before: Path
) -> None:
    values = alone(tiny, tmp_path, **BASE)
    values["data"]["global_batch_size"] = 12
    (_, line) = choose(values, before).text
    assert line.endswith("; the last 4 samples before this step are read again")


def test_a_checkpoint_of_an_older_release_is_resumed_and_not_compared(tiny: Path, tmp_path: Path, before: Path) -> None:
    shutil.copytree(before, tmp_path, dirs_exist_ok=True)
    (checkpoint,) = (tmp_path / contract.CHECKPOINTS_DIR).glob("*.ckpt")
    path = checkpoint / contract.CHECKPOINT_MANIFEST
    manifest = json.loads(path.read_text())
    del manifest["config"]
    path.write_text(json.dumps(manifest))
    choice = resume(edited(alone(tiny, tmp_path, **BASE), "model.optim.lr"), tmp_path)
    assert len(choice.text) == 1
    assert "older release" in choice.text[0]


def test_another_config_json_under_the_same_path_is_told(tiny: Path, tmp_path: Path, before: Path) -> None:
    (tmp_path / "model.json").write_text(json.dumps({**MODEL, "rope_theta": 5e5}))
    values = alone(tiny, tmp_path, **BASE, model__model_config=str(tmp_path / "model.json"))
    assert keys_of(choose(values, before).text) == ["model.model_config", "the model's rope_theta"]


def test_a_new_seed_draws_anew_and_the_old_one_goes_on(tiny: Path, tmp_path: Path, before: Path) -> None:
    states = {}
    for seed in (7, 99):
        values = alone(tiny, tmp_path / str(seed), **BASE)
        values["seed"] = seed
        resume(values, before)
        states[seed] = torch.get_rng_state()
    (checkpoint,) = (before / contract.CHECKPOINTS_DIR).glob("*.ckpt")
    assert torch.equal(states[7], load_trainer_state(checkpoint)["rng"][0]["torch"])
    torch.manual_seed(99)
    assert torch.equal(states[99], torch.get_rng_state())
