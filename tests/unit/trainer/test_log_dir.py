"""Where a run writes."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from neuron_api import contract
from neuron_api.loading.loader import load_text
from neuron_trainer.run_directory.log_dir import Mirror, address, checkpoints, log_dir

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


HOSTILE = ["a b/../../evil", "../../evil", "/etc", "..", ".", "a/b", "a\\b", "x\0y", "$HOME", "~", "a\nb"]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("key", ["name", "exp_manager.name", "exp_manager.version"])
def test_no_name_leaves_exp_dir_or_goes_below_it(name: str, key: str, tiny: Path) -> None:
    """As NTJ-2001 says, which is there for all three: one part of the path, of letters, digits and `. _ -`."""
    values = alone(tiny, Path("/unused"))
    values["exp_manager"] = {"exp_dir": "/exp", "resume_if_exists": not key.endswith("version")}
    if key == "name":
        values["name"] = name
    else:
        values["exp_manager"][key.rpartition(".")[2]] = name
    found = log_dir(typed(values))
    assert found.parts[:2] == ("/", "exp")
    assert len(found.parts) == (4 if key.endswith("version") else 3)
    assert found.resolve().is_relative_to("/exp")
    (told,) = (one for one in load_text(yaml.safe_dump(values)).findings if one.code == "NTJ-2001")
    assert (told.key, found.name in told.message) == (key, True)


def test_names_that_are_fine_stay_as_they_are(tiny: Path) -> None:
    values = alone(tiny, Path("/unused"))
    values["exp_manager"] = {"exp_dir": "/exp", "name": "Llama-3.1_8B", "version": "v1.2", "resume_if_exists": False}
    assert log_dir(typed(values)) == Path("/exp/Llama-3.1_8B/v1.2")


def test_an_address_has_the_same_names(tiny: Path) -> None:
    values = alone(tiny, Path("/unused"))
    values["exp_manager"] = {"exp_dir": "s3://bucket/exp", "name": "a/../../b", "resume_if_exists": True}
    assert address(typed(values)) == "s3://bucket/exp/a_.._.._b"


def test_the_copy_of_a_log_directory_has_neither_checkpoints_nor_what_was_compiled(tmp_path: Path) -> None:
    for name in ("metrics.jsonl", "checkpoints/a.ckpt/done", "compile_cache/neff/ab/x.neff", "sub/notes.txt"):
        (tmp_path / "log" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "log" / name).touch()
    copied = Mirror(tmp_path / "log", "s3://bucket/log")._files()
    assert sorted(path.relative_to(tmp_path / "log").as_posix() for path in copied) == [
        "metrics.jsonl",
        "sub/notes.txt",
    ]
