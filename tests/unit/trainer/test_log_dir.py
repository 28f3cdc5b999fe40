"""Where a run writes."""

from pathlib import Path
from typing import Any

import pytest

from neuron_api import contract
from neuron_trainer.log_dir import checkpoints, log_dir

from .conftest import alone, typed


def folder(tiny: Path, **manager: Any) -> Path:
    values = alone(tiny, Path("/unused"))
    values["exp_manager"] = manager
    return log_dir(typed(values))


def test_an_explicit_directory_is_taken_as_it_is(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOLUME", "/mnt/volume")
    assert folder(tiny, explicit_log_dir="$VOLUME/log") == Path("/mnt/volume/log")


def test_a_run_that_may_resume_has_no_version(tiny: Path) -> None:
    assert folder(tiny, exp_dir="/exp", resume_if_exists=True) == Path("/exp/tiny")
    assert folder(tiny, exp_dir="/exp", name="other", resume_if_exists=True) == Path("/exp/other")


def test_a_version_is_that_of_the_environment(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(contract.ENV_EXPERIMENT_VERSION, "v7")
    assert folder(tiny, exp_dir="/exp") == Path("/exp/tiny/v7")


def test_without_a_directory_it_is_below_the_working_one(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert folder(tiny, resume_if_exists=True) == tmp_path / "nemo_experiments" / "tiny"


def test_checkpoints_are_below_it_or_where_dirpath_says(tiny: Path) -> None:
    values = alone(tiny, Path("/log"))
    assert checkpoints(typed(values), Path("/log")) == Path("/log/checkpoints")
    values["exp_manager"]["checkpoint_callback_params"]["dirpath"] = "/mnt/ckpt-volume/llama-v2"
    assert checkpoints(typed(values), Path("/log")) == Path("/mnt/ckpt-volume/llama-v2")
