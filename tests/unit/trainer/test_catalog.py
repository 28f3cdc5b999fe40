"""A checkpoint that is not whole is not resumed from, in whatever way it was broken."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from neuron_api import contract
from neuron_api.config import TrainingConfig
from neuron_api.resource.spec import FromScratch
from neuron_trainer.checkpoint import catalog, complete, layout, verify, writer
from neuron_trainer.errors import CheckpointError, InputError, ProgressLostError
from neuron_trainer.launcher.checkpoint_selector import CheckpointSelector
from neuron_trainer.run_directory.resume import EarlierRuns, ResumeChoice
from neuron_trainer.storage import places

from .conftest import alone, typed

pytestmark = pytest.mark.slow


@pytest.fixture
def run(trained: Path, tiny: Path, tmp_path: Path) -> tuple[TrainingConfig, Path]:
    """A copy of the run with checkpoints at 2, 4 and 6, to be damaged; its configuration wants 10 steps."""
    folder = tmp_path / "log"
    shutil.copytree(trained, folder)
    return typed(alone(tiny, folder, trainer__max_steps=10)), folder


def at(folder: Path, step: int) -> Path:
    (found,) = (folder / contract.CHECKPOINTS_DIR).glob(f"*step={step}-*")
    return found


def choose(config: TrainingConfig, folder: Path) -> str | None:
    """The directory's name that a start would take up."""
    chosen = CheckpointSelector(config, folder, job_uid="").choose()
    assert not chosen.weights_only
    return chosen.checkpoint and Path(chosen.checkpoint).name


def shard(checkpoint: Path) -> Path:
    return next(checkpoint.glob("*.distcp"))


def remove_marker(checkpoint: Path) -> None:
    (checkpoint / contract.CHECKPOINT_MARKER).unlink()


def remove_manifest(checkpoint: Path) -> None:
    (checkpoint / contract.CHECKPOINT_MANIFEST).unlink()


def tear_manifest(checkpoint: Path) -> None:
    manifest = checkpoint / contract.CHECKPOINT_MANIFEST
    manifest.write_text(manifest.read_text()[:-20])


def remove_shard(checkpoint: Path) -> None:
    shard(checkpoint).unlink()


def truncate_shard(checkpoint: Path) -> None:
    path = shard(checkpoint)
    path.write_bytes(path.read_bytes()[:-1])


def flip_a_bit_of_a_shard(checkpoint: Path) -> None:
    path = shard(checkpoint)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def change_trainer_state(checkpoint: Path) -> None:
    path = checkpoint / layout.TRAINER_STATE
    path.write_bytes(b"x" * path.stat().st_size)


def remove_tensor_index(checkpoint: Path) -> None:
    (checkpoint / layout.TENSOR_INDEX).unlink()


DAMAGES = [
    remove_marker,
    remove_manifest,
    tear_manifest,
    remove_shard,
    truncate_shard,
    flip_a_bit_of_a_shard,
    change_trainer_state,
    remove_tensor_index,
]
damages = pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)


def test_the_newest_whole_checkpoint_is_taken_up(run: tuple[TrainingConfig, Path]) -> None:
    config, folder = run
    assert choose(config, folder) == at(folder, 6).name


@damages
def test_a_damaged_checkpoint_is_passed_over(damage: Callable[[Path], None], run: tuple[TrainingConfig, Path]) -> None:
    config, folder = run
    damage(at(folder, 6))
    assert choose(config, folder) == at(folder, 4).name
    damage(at(folder, 4))
    assert choose(config, folder) == at(folder, 2).name


@damages
def test_a_damaged_checkpoint_is_refused_with_its_name(
    damage: Callable[[Path], None], run: tuple[TrainingConfig, Path]
) -> None:
    _, folder = run
    damage(at(folder, 6))
    with pytest.raises(CheckpointError, match=at(folder, 6).name.replace("+", ".")):
        verify(at(folder, 6))


def test_damage_behind_the_marker_is_told(run: tuple[TrainingConfig, Path], caplog: pytest.LogCaptureFixture) -> None:
    config, folder = run
    truncate_shard(at(folder, 6))
    with caplog.at_level(logging.ERROR):
        choose(config, folder)
    assert "checkpoint skipped: " in caplog.text
    assert "bytes, " in caplog.text, "a wrong size is seen before anything is read"
    assert shard(at(folder, 6)).name in caplog.text


def test_a_run_whose_checkpoints_are_all_damaged_is_not_begun_again(run: tuple[TrainingConfig, Path]) -> None:
    config, folder = run
    for step in (2, 4, 6):
        flip_a_bit_of_a_shard(at(folder, step))
    with pytest.raises(InputError, match=r"every checkpoint in .* is damaged"):
        choose(config, folder)


def test_without_any_marker_there_is_nothing_to_resume(run: tuple[TrainingConfig, Path]) -> None:
    config, folder = run
    for step in (2, 4, 6):
        remove_marker(at(folder, step))
    assert choose(config, folder) is None


def test_newest_is_by_step_and_not_by_time(run: tuple[TrainingConfig, Path]) -> None:
    _, folder = run
    (at(folder, 2) / contract.CHECKPOINT_MARKER).touch()
    assert [one.step for one in complete(folder / contract.CHECKPOINTS_DIR)] == [6, 4, 2]


def test_half_removed_checkpoints_are_incomplete(
    run: tuple[TrainingConfig, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, folder = run

    def killed(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(places, "remove_tree", killed)
    with pytest.raises(KeyboardInterrupt):
        layout.remove(at(folder, 6))
    assert catalog.incomplete(folder / contract.CHECKPOINTS_DIR) == [at(folder, 6)]
    assert [one.step for one in complete(folder / contract.CHECKPOINTS_DIR)] == [4, 2]


def test_the_last_copy_is_whole_and_survives_the_original(run: tuple[TrainingConfig, Path]) -> None:
    config, folder = run
    writer.copy_as_last(at(folder, 4))
    last = writer.copy_as_last(at(folder, 6))
    assert [path.name for path in last.parent.glob("*-last.ckpt")] == [last.name]
    for step in (2, 4, 6):
        layout.remove(
            (folder / contract.CHECKPOINTS_DIR)
            / next(
                c.path.name for c in complete(folder / contract.CHECKPOINTS_DIR) if c.step == step and c.path != last
            )
        )
    assert verify(last).step == 6
    assert choose(config, folder) == last.name


def test_a_checkpoint_of_another_architecture_is_refused(run: tuple[TrainingConfig, Path], tiny: Path) -> None:
    _, folder = run
    config = typed(alone(tiny, folder, trainer__max_steps=10, model__num_layers=3))
    with pytest.raises(InputError, match="is of another model: num_hidden_layers 2 there, 3 here"):
        choose(config, folder)


def test_a_run_that_is_at_its_last_step_has_nothing_to_do(run: tuple[TrainingConfig, Path], tiny: Path) -> None:
    config, folder = run
    assert CheckpointSelector(config, folder, "").finished() is None
    over = typed(alone(tiny, folder, trainer__max_steps=6))
    done = CheckpointSelector(over, folder, "").finished()
    assert done is not None
    assert (done.path, done.step) == (at(folder, 6), 6)


def test_a_damaged_checkpoint_at_the_last_step_is_not_the_end(run: tuple[TrainingConfig, Path], tiny: Path) -> None:
    _, folder = run
    flip_a_bit_of_a_shard(at(folder, 6))
    over = typed(alone(tiny, folder, trainer__max_steps=6))
    assert CheckpointSelector(over, folder, "").finished() is None
    assert choose(over, folder) == at(folder, 4).name


def test_a_given_checkpoint_may_be_gone_once_the_run_has_its_own(
    run: tuple[TrainingConfig, Path], tiny: Path, tmp_path: Path
) -> None:
    _, folder = run
    gone = str(tmp_path / "gone.ckpt")
    values = alone(tiny, folder, trainer__max_steps=10, exp_manager__resume_from_checkpoint=gone)
    assert choose(typed(values), folder) == at(folder, 6).name
    values["exp_manager"]["explicit_log_dir"] = str(tmp_path / "empty")
    with pytest.raises(InputError, match=r"resume_from_checkpoint: .*gone\.ckpt.*Give the directory of a complete"):
        choose(typed(values), tmp_path / "empty")


@damages
def test_a_given_checkpoint_must_be_whole(
    damage: Callable[[Path], None], run: tuple[TrainingConfig, Path], tiny: Path, tmp_path: Path
) -> None:
    _, folder = run
    damage(at(folder, 6))
    given = str(at(folder, 6))
    config = typed(alone(tiny, tmp_path / "new", exp_manager__resume_from_checkpoint=given))
    with pytest.raises(InputError, match=r"exp_manager\.resume_from_checkpoint"):
        CheckpointSelector(config, tmp_path / "new", "").choose()


def test_a_verified_checkpoint_is_not_read_again(
    run: tuple[TrainingConfig, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, folder = run
    chooser = CheckpointSelector(config, folder, "")
    chooser.choose()
    monkeypatch.setattr("neuron_trainer.launcher.checkpoint_selector.verify", lambda _: pytest.fail("read again"))
    assert chooser.choose().checkpoint == str(at(folder, 6))


# ---- the gate: finished steps are not done again from step 0, unless that is allowed --------------------------------


def after_steps(config: TrainingConfig, folder: Path, policy: FromScratch = FromScratch.NEVER) -> CheckpointSelector:
    return CheckpointSelector(config, folder, "", lambda: EarlierRuns(step=6, saved=True, from_scratch=policy))


def test_a_job_whose_checkpoints_are_gone_does_not_begin_again(run: tuple[TrainingConfig, Path]) -> None:
    config, folder = run
    shutil.rmtree(folder / contract.CHECKPOINTS_DIR)
    with pytest.raises(
        ProgressLostError, match=r"6 steps were finished and there is no complete checkpoint in .*step 0"
    ):
        after_steps(config, folder).choose()
    with pytest.raises(ProgressLostError):
        after_steps(config, folder).finished()
    assert after_steps(config, folder, FromScratch.ALWAYS).choose() == ResumeChoice()


def test_a_job_whose_checkpoints_are_all_damaged_does_not_begin_again(run: tuple[TrainingConfig, Path]) -> None:
    config, folder = run
    for checkpoint in (folder / contract.CHECKPOINTS_DIR).iterdir():
        shard(checkpoint).write_bytes(b"")
    with pytest.raises(ProgressLostError, match=r"every checkpoint in .* is damaged \(.*0 bytes"):
        after_steps(config, folder).choose()


def test_a_damaged_checkpoint_is_passed_over_with_the_reason(run: tuple[TrainingConfig, Path]) -> None:
    config, folder = run
    newest = at(folder, 6)
    shard(newest).write_bytes(b"")
    chosen = after_steps(config, folder).choose()
    assert chosen.checkpoint == str(at(folder, 4))
    assert str(newest) in chosen.skipped
    assert "0 bytes" in chosen.skipped
