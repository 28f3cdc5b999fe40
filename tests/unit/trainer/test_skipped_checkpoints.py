"""Whatever a start cannot take up is named with its reason, the steps that it costs are told, and it is moved aside.

The kind: a directory with the name of a checkpoint that is none: cut off by a kill, with a manifest that cannot be
read, damaged behind its marker, in every number; a link, a file. Tried with a job that may begin again and one that may
not, twice in a row, with directories that were moved aside before, and with a name that is taken.
"""

import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from neuron_api import contract
from neuron_api.config import TrainingConfig
from neuron_trainer.checkpoint import complete, retention
from neuron_trainer.errors import InputError
from neuron_trainer.ipc.worker_channel import Start
from neuron_trainer.launcher.checkpoint_selector import CheckpointSelector
from neuron_trainer.loop import run as loop_run
from neuron_trainer.metrics.history import open_history

from .conftest import alone, train, typed


@pytest.fixture
def log(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run with checkpoints at 2, 4 and 6."""
    shutil.copytree(trained, tmp_path / "log")
    return tmp_path / "log"


def config(tiny: Path, folder: Path, **changes: Any) -> TrainingConfig:
    return typed(alone(tiny, folder, trainer__max_steps=10, **changes))


def checkpoints(log: Path) -> list[Path]:
    return sorted((log / contract.CHECKPOINTS_DIR).iterdir())


def cut_off(checkpoint: Path) -> None:
    (checkpoint / contract.CHECKPOINT_MARKER).unlink()


def unreadable(checkpoint: Path) -> None:
    (checkpoint / contract.CHECKPOINT_MANIFEST).write_text("{")


def damaged(checkpoint: Path) -> None:
    next(checkpoint.glob("*.distcp")).write_bytes(b"")


@pytest.mark.parametrize(("harm", "suffix"), [(cut_off, ".cut-off"), (unreadable, ".damaged"), (damaged, ".damaged")])
def test_the_newest_is_passed_over_named_and_moved_aside(
    harm: Any, suffix: str, log: Path, tiny: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second, third = checkpoints(log)
    harm(third)
    chosen = CheckpointSelector(config(tiny, log), log, "").choose()
    assert chosen.checkpoint == str(second)
    assert str(third) in chosen.skipped
    assert f"checkpoint skipped: {third}" in caplog.text
    assert checkpoints(log) == [first, second, third.with_name(third.name + suffix)]
    assert len(list(checkpoints(log)[2].iterdir())) > 2, "its files are all there"
    again = CheckpointSelector(config(tiny, log), log, "").choose()
    assert (again.checkpoint, again.skipped) == (str(second), "")


def test_all_are_unreadable_and_the_run_may_begin_again(
    log: Path, tiny: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Also the history of the run stays as it was."""
    before = (log / contract.METRICS_FILE).read_bytes()
    for checkpoint in checkpoints(log):
        unreadable(checkpoint)
    chosen = CheckpointSelector(config(tiny, log, exp_manager__resume_ignore_no_checkpoint=True), log, "").choose()
    assert chosen.checkpoint is None
    assert chosen.skipped.count("is not a manifest") == 3
    assert [path.suffix for path in checkpoints(log)] == [".damaged"] * 3, "nothing that was complete is deleted"
    assert (log / contract.METRICS_FILE).read_bytes() == before


@pytest.mark.slow
@pytest.mark.usefixtures("one_process")
def test_a_start_without_a_checkpoint_says_what_was_passed_over_and_what_is_done_again(
    log: Path, tiny: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for checkpoint in checkpoints(log):
        cut_off(checkpoint)
    values = alone(tiny, log, trainer__max_steps=7)
    skipped = CheckpointSelector(typed(values), log, "").choose().skipped
    before = (log / contract.METRICS_FILE).read_bytes()
    with caplog.at_level(logging.INFO):
        train(values, Start(0, skipped=skipped))
    assert "training begins at step 0; 6 finished steps are done again; passed over: " in caplog.text
    assert caplog.text.count("it was never completed") >= 3
    history = open_history(log).history()
    assert [one.steps_lost for one in history.starts] == [0, 6]
    assert [one.step for one in history.steps] == list(range(1, 8))
    assert (log / contract.METRICS_FILE).read_bytes().startswith(before), "a start has erased lines"


def test_without_leave_to_begin_again_the_error_names_what_is_there(log: Path, tiny: Path) -> None:
    for checkpoint in checkpoints(log):
        cut_off(checkpoint)
    settings = config(tiny, log, exp_manager__resume_ignore_no_checkpoint=False)
    with pytest.raises(InputError, match=r"no complete checkpoint .*it was never completed"):
        CheckpointSelector(settings, log, "").choose()
    assert [path.suffix for path in checkpoints(log)] == [".ckpt"] * 3, "a start that is refused touches nothing"


def test_cut_off_ones_do_not_fill_the_disk(log: Path, tiny: Path) -> None:
    """One is kept of them, and that until the next checkpoint of the run is complete."""
    folder = log / contract.CHECKPOINTS_DIR
    for number in range(3):
        shutil.copytree(checkpoints(log)[-1], folder / f"step={90 + number}.ckpt")
        cut_off(folder / f"step={90 + number}.ckpt")
        CheckpointSelector(config(tiny, log), log, "").choose()
    shutil.copytree(folder / "step=92.ckpt.cut-off", folder / "step=93.ckpt")
    shutil.copytree(folder / "step=92.ckpt.cut-off", folder / "step=94.ckpt")
    CheckpointSelector(config(tiny, log), log, "").choose()
    assert [path.name for path in retention.moved_aside(folder)] == ["step=94.ckpt.cut-off"]
    params = config(tiny, log).exp_manager.checkpoint_callback_params
    retention.apply(folder, complete(folder)[0].path, params)
    assert retention.moved_aside(folder) == []


def test_a_name_that_is_taken_is_not_taken_over(log: Path, tiny: Path) -> None:
    newest = checkpoints(log)[2]
    newest.with_name(newest.name + ".damaged").mkdir()
    unreadable(newest)
    CheckpointSelector(config(tiny, log), log, "").choose()
    assert [path.name for path in retention.moved_aside(newest.parent)] == [
        newest.name + ".damaged", newest.name + ".damaged-2",
    ]  # fmt: skip


def test_links_and_files_are_nobody_s_to_move(log: Path, tiny: Path, tmp_path: Path) -> None:
    folder = log / contract.CHECKPOINTS_DIR
    elsewhere = tmp_path / "elsewhere.ckpt"
    checkpoints(log)[0].rename(elsewhere)
    (folder / "whole.ckpt").symlink_to(elsewhere)
    shutil.copytree(elsewhere, tmp_path / "broken")
    cut_off(tmp_path / "broken")
    (folder / "broken.ckpt").symlink_to(tmp_path / "broken")
    (folder / "lightning.ckpt").write_text("of Lightning: a file")
    CheckpointSelector(config(tiny, log), log, "").choose()
    retention.apply(folder, complete(folder)[0].path, config(tiny, log).exp_manager.checkpoint_callback_params)
    names = {path.name for path in checkpoints(log)}
    assert {"whole.ckpt", "broken.ckpt", "lightning.ckpt"} < names
    assert (elsewhere / contract.CHECKPOINT_MARKER).is_file(), "what the link points to was emptied"
    assert (tmp_path / "broken" / contract.CHECKPOINT_MANIFEST).is_file()


def test_a_test_touches_nothing(log: Path, tiny: Path) -> None:
    unreadable(checkpoints(log)[2])
    before = checkpoints(log)
    CheckpointSelector(config(tiny, log), log, "", is_test=True).choose()
    assert checkpoints(log) == before


def test_the_sentence_of_a_start() -> None:
    sentence = loop_run._sentence
    assert sentence(Start(0), 0, 0) == "training begins at step 0"
    assert (
        sentence(Start(1, "/a.ckpt"), 4, 1) == "training resumes at step 4 from /a.ckpt; 1 finished step is done again"
    )
    assert sentence(Start(0, "/a", weights_only=True), 0, 0) == "training begins at step 0 with the weights of /a"


def test_what_another_run_left_is_named_and_left_alone(log: Path, tiny: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A directory that a run began in, which may not resume: the checkpoints there are of the run before it (F09)."""
    (log / "run.json").write_text(json.dumps({"run_id": "mine"}))
    settings = config(tiny, log, exp_manager__resume_ignore_no_checkpoint=True)
    chosen = CheckpointSelector(settings, log, "").choose()
    assert (chosen.checkpoint, chosen.run_id) == (None, "mine")
    assert "checkpoints of another run, which are left alone" in caplog.text
    own = checkpoints(log)[0]
    manifest = own / contract.CHECKPOINT_MANIFEST
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "run_id": "mine"}))
    assert CheckpointSelector(settings, log, "").choose().checkpoint == str(own), (
        "its own step 2, not the other run's step 6"
    )
    params = typed(alone(tiny, log, exp_manager__checkpoint_callback_params__save_top_k=1))
    retention.apply(own.parent, own, params.exp_manager.checkpoint_callback_params, "mine")
    assert len(checkpoints(log)) == 3, "the other run's count in save_top_k"


@pytest.mark.parametrize("other", [{}, {"step": None, "place": "elsewhere"}], ids=["same fields", "other fields"])
def test_a_checkpoint_of_a_later_release_is_no_damage(other: dict[str, Any], log: Path, tiny: Path) -> None:
    """After a roll-back of the image the steps that the later release saved are neither done again nor moved away."""
    newest = checkpoints(log)[-1]
    path = newest / contract.CHECKPOINT_MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 99, **other}))
    with pytest.raises(InputError, match="has version 99, this release reads up to 2: use the release that wrote it"):
        CheckpointSelector(config(tiny, log, exp_manager__resume_if_exists=True), log, "").choose()
    without = config(tiny, log, exp_manager__resume_if_exists=False, exp_manager__resume_ignore_no_checkpoint=True)
    assert CheckpointSelector(without, log, "").choose().checkpoint is None
    assert newest.is_dir()


def test_of_several_that_were_cut_off_the_newest_is_kept(log: Path, tiny: Path) -> None:
    """By time: step=10 comes before step=5 by name."""
    for number, checkpoint in enumerate(checkpoints(log)):
        cut_off(checkpoint)
        os.utime(checkpoint, (1000 - number, 1000 - number))
    CheckpointSelector(config(tiny, log, exp_manager__resume_ignore_no_checkpoint=True), log, "").choose()
    assert [path.name.partition(".ckpt")[2] for path in checkpoints(log)] == [".cut-off"]
    assert checkpoints(log)[0].stat().st_mtime == 1000
