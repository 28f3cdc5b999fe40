"""Where a run writes."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from neuron_api import contract
from neuron_api.loading.loader import load_text
from neuron_trainer.run_directory.log_dir import Mirror, address, checkpoints, log_dir
from neuron_trainer.storage import places

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


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is an object store to a log directory `log` beside it."""
    monkeypatch.setattr(places, "place", lambda address: tmp_path / "store" / address.removeprefix("s3://bucket/"))
    for name in (
        "metrics.jsonl", "checkpoints/a.ckpt/done", "compile_cache/neff/ab/x.neff", "sub/notes.txt", ".lease",
        "wandb/run-1/run-a.wandb", "wandb/run-1/files/output.log",
    ):  # fmt: skip
        write(tmp_path / "log" / name)
        (tmp_path / "store" / "log" / name).parent.mkdir(parents=True, exist_ok=True)
    return tmp_path / "store" / "log"


def write(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("text")


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


PLAIN = ["metrics.jsonl", "sub/notes.txt"]


def test_the_copy_of_a_log_directory_has_neither_checkpoints_nor_what_was_compiled(
    copied: Path, tmp_path: Path
) -> None:
    mirror = Mirror(tmp_path / "log", "s3://bucket/log")
    mirror.sync()
    assert names(copied) == PLAIN, "what W&B writes all the time is copied once"
    mirror.sync(is_last=True)
    assert names(copied) == [*PLAIN, "wandb/run-1/files/output.log", "wandb/run-1/run-a.wandb"]


def test_only_what_has_changed_is_copied_again(copied: Path, tmp_path: Path) -> None:
    mirror = Mirror(tmp_path / "log", "s3://bucket/log")
    mirror.sync()
    for name in PLAIN:
        (copied / name).unlink()
    (tmp_path / "log" / "metrics.jsonl").write_text("more text")
    mirror.sync()
    assert names(copied) == ["metrics.jsonl"]


@pytest.mark.parametrize("method", ["stat", "read_bytes"])
def test_a_file_that_vanishes_while_the_directory_is_copied_is_passed_over(
    method: str, copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library's temporary file: the training ended with `FileNotFoundError`."""
    passing, original = tmp_path / "log" / "a.tmp", getattr(Path, method)
    write(passing)

    def vanishing(self: Path, *args: Any, **named: Any) -> Any:
        if self == passing:
            passing.unlink(missing_ok=True)
        return original(self, *args, **named)

    monkeypatch.setattr(Path, method, vanishing)
    Mirror(tmp_path / "log", "s3://bucket/log").sync()
    assert names(copied) == PLAIN
