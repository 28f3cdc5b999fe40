"""What can be refused before torch is imported is refused before.

The kind: a refusal that a listing of names, or reading a small file, could have given, after ten seconds of imports (12
s for `resume_if_exists` without a checkpoint). Looked at: the resume, config.json, data and tokenizer paths, files to
copy, the metric that ranks checkpoints, the number of processes.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from distributed.tiny import write_config
from neuron_api.contract import ExitCode
from neuron_api.resource.spec import FromScratch
from neuron_trainer.errors import InputError
from neuron_trainer.preflight import early
from neuron_trainer.run_directory.resume import EarlierRuns

from .conftest import alone, typed


def refusals(values: dict[str, Any], seen: EarlierRuns | None = None, *, is_test: bool = False) -> list[str]:
    config = typed(values)
    try:
        early.check(config, config.trainer.devices, seen or EarlierRuns(), is_test=is_test)
    except InputError as problem:
        return [str(finding) for finding in problem.findings]
    return []


def resuming(tiny: Path, folder: Path, **changes: Any) -> dict[str, Any]:
    keys = {"exp_manager__resume_if_exists": True, "exp_manager__resume_ignore_no_checkpoint": False}
    return alone(tiny, folder, **{**keys, **changes})


def test_nothing_is_wrong_with_the_tiny_run(tiny: Path, tmp_path: Path) -> None:
    assert refusals(alone(tiny, tmp_path)) == []


def test_a_resume_without_a_checkpoint_names_both_keys(tiny: Path, tmp_path: Path) -> None:
    (one,) = refusals(resuming(tiny, tmp_path))
    assert one.startswith("exp_manager.resume_ignore_no_checkpoint: resume_if_exists is set and there is no complete")
    assert "set exp_manager.resume_ignore_no_checkpoint to True" in one


def test_a_checkpoint_that_a_killed_save_left_is_none(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoints" / "epoch=0-step=4.ckpt").mkdir(parents=True)
    assert len(refusals(resuming(tiny, tmp_path))) == 1


def test_with_a_checkpoint_the_launcher_decides(tiny: Path, tmp_path: Path, trained: Path) -> None:
    assert refusals(resuming(tiny, trained)) == []


@pytest.mark.parametrize(
    ("changes", "seen"),
    [
        ({"exp_manager__resume_from_checkpoint": "/"}, EarlierRuns()),
        ({"exp_manager__resume_from_checkpoint": "s3://bucket/run/x.ckpt"}, EarlierRuns()),
        ({"exp_manager__explicit_log_dir": "s3://bucket/run"}, EarlierRuns()),
        ({}, EarlierRuns(step=9, saved=True, from_scratch=FromScratch.NEVER)),
    ],
    ids=[
        "another checkpoint is given",
        "one in an object store is given",
        "an object store",
        "finished steps would be lost: exit code 3 is later",
    ],
)
def test_what_a_listing_cannot_know_is_left_to_the_launcher(
    changes: dict[str, Any], seen: EarlierRuns, tiny: Path, tmp_path: Path
) -> None:
    assert refusals(resuming(tiny, tmp_path, **changes), seen) == []


def test_a_run_with_checkpoints_needs_the_given_one_no_more(tiny: Path, trained: Path) -> None:
    assert refusals(resuming(tiny, trained, exp_manager__resume_from_checkpoint="/nowhere")) == []


def test_a_name_of_the_hub_is_left_to_the_hub(tiny: Path, tmp_path: Path) -> None:
    sft = {"model_alignment_strategy": {"sft": {}}, "data__train_dir": str(tiny / "model.json")}
    assert refusals(alone(tiny, tmp_path, **sft, data__tokenizer={"type": "some/model"})) == []


def test_a_test_needs_no_checkpoint_to_resume_from(tiny: Path, tmp_path: Path) -> None:
    values = resuming(tiny, tmp_path, trainer__limit_test_batches=1, data__test_dir=str(tiny / "data"))
    assert refusals(values, is_test=True) == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"data__train_dir": "/nowhere"}, "data.train_dir: there is no directory /nowhere"),
        ({"data__train_dir": "/nowhere", "model_alignment_strategy": {"sft": {}}},
         "data.train_dir: there is no file /nowhere"),
        ({"data__val_dir": "/nowhere", "trainer__limit_val_batches": 2}, "data.val_dir: there is no directory"),
        ({"model__model_config": "/nowhere.json"}, "model.model_config: /nowhere.json cannot be read"),
        ({"exp_manager__files_to_copy": ["/nowhere"]}, "exp_manager.files_to_copy: /nowhere does not exist"),
        ({"exp_manager__checkpoint_callback_params__monitor": "f1"}, "there is no metric 'f1'"),
        ({"trainer__devices": 3}, "data.global_batch_size"),
        ({"model_alignment_strategy": {"sft": {}}, "data__tokenizer": {"type": "/nowhere"}},
         "data.tokenizer.type: there is no directory /nowhere"),
        ({"model_alignment_strategy": {"sft": {}}, "data__tokenizer": {"type": "nowhere"}},
         "data.tokenizer.type: there is no directory nowhere"),
        ({"model_alignment_strategy": {"sft": {}}, "data__tokenizer": {"type": "some/where/else"}},
         "data.tokenizer.type: there is no directory some/where/else"),
        ({"exp_manager__resume_from_checkpoint": "nowhere"},
         "exp_manager.resume_from_checkpoint: there is no directory nowhere"),
        ({"exp_manager__resume_from_checkpoint": "x" * 300}, "exp_manager.resume_from_checkpoint: there is no"),
        ({"exp_manager__resume_from_checkpoint": "nowhere", "exp_manager__resume_if_exists": True},
         "exp_manager.resume_from_checkpoint: there is no directory nowhere"),
    ],
)  # fmt: skip
def test_a_path_or_number_that_is_wrong_is_refused(
    changes: dict[str, Any], says: str, tiny: Path, tmp_path: Path
) -> None:
    assert [one for one in refusals(alone(tiny, tmp_path, **changes)) if says in one] != []


def test_validation_data_that_is_not_read_may_be_missing(tiny: Path, tmp_path: Path) -> None:
    assert refusals(alone(tiny, tmp_path, data__val_dir="/nowhere", trainer__limit_val_batches=0)) == []


@pytest.mark.slow
def test_a_refusal_imports_no_torch(tiny: Path, tmp_path: Path) -> None:
    """By the modules of the process and not by its time, which a busy machine decides."""
    path = write_config(tmp_path / "config.yaml", resuming(tiny, tmp_path, data__train_dir="/nowhere"))
    script = (
        "import sys; from neuron_trainer.__main__ import main; code = main(sys.argv[1:]); "
        "print(code, [name for name in ('torch', 'datasets', 'lightning', 'numpy') if name in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, "run", str(path)], capture_output=True, text=True, check=True, timeout=300
    )
    assert ended.stdout == f"{int(ExitCode.CONFIG)} []\n"
    assert "resume_ignore_no_checkpoint" in ended.stderr
    assert "data.train_dir" in ended.stderr
