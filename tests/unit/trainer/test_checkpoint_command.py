"""`neuron-train checkpoint`: what is there, whether it is whole, what is in it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from neuron_api import contract
from neuron_trainer.__main__ import main
from neuron_trainer.checkpoint import complete


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the log directory of a run with checkpoints at 2, 4 and 6."""
    shutil.copytree(trained, tmp_path / "log")
    return tmp_path / "log"


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, Any]:
    code = main(["checkpoint", *map(str, arguments), "-o", "json"])
    return code, json.loads(capsys.readouterr().out)


def newest(run: Path) -> Path:
    return complete(run / contract.CHECKPOINTS_DIR)[0].path


def test_a_list_has_the_newest_first_and_what_a_killed_save_left(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (newest(run) / contract.CHECKPOINT_MARKER).unlink()
    code, rows = told(capsys, "list", run)
    assert code == 0
    assert [(row["step"], row["state"]) for row in rows] == [(4, "complete"), (2, "complete"), (None, "incomplete")]
    assert all(row["bytes"] > 0 for row in rows[:2])


@pytest.mark.parametrize("place", ["log directory", "checkpoints", "one"])
def test_a_log_directory_its_checkpoints_and_one_of_them_can_be_named(
    place: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = {"log directory": run, "checkpoints": run / contract.CHECKPOINTS_DIR, "one": newest(run)}[place]
    code, rows = told(capsys, "verify", path)
    assert code == 0
    assert [row["verdict"] for row in rows] == ["whole"] * (1 if place == "one" else 3)


def test_a_damaged_one_is_named_and_the_others_are_still_read(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shard = next(newest(run).glob("*.distcp"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    code, rows = told(capsys, "verify", run)
    assert code == 1
    assert [row["verdict"] for row in rows] == ["damaged", "whole", "whole"]
    assert "checksum is not the one that was written" in rows[0]["message"]


def test_nothing_to_verify_is_not_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "verify", tmp_path) == (1, [])


def test_the_contents_are_told_without_reading_them(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = newest(run)
    shard = next(path.glob("*.distcp"))
    shard.write_bytes(b"\0" * shard.stat().st_size)
    code, found = told(capsys, "inspect", path)
    assert (code, found["step"]) == (0, 6)
    tensors = {tensor["name"]: tensor for tensor in found["tensors"]}
    vocabulary, hidden = found["architecture"]["vocab_size"], found["architecture"]["hidden_size"]
    embedding = tensors["model.model.embed_tokens.weight"]
    assert (embedding["shape"], embedding["dtype"]) == ([vocabulary, hidden], "float32")
    assert embedding["bytes"] == 4 * vocabulary * hidden
    assert sum(name.startswith("optim.") for name in tensors) == 2 * sum(name.startswith("model.") for name in tensors)


def test_people_get_tables(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("list", "verify", "inspect"):
        assert main(["checkpoint", command, str(newest(run))]) == 0
        assert newest(run).name[:12] in capsys.readouterr().out


def test_inspect_shows_counts_as_integers_the_configuration_as_yaml_and_nothing_empty(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Found by a new user: one line of 6,000 characters, `step 6.0`, and a job_uid without a value."""
    assert main(["checkpoint", "inspect", str(newest(run))]) == 0
    lines = capsys.readouterr().out.splitlines()
    facts = {line.split()[0]: line.split()[1:] for line in lines if line and not line.startswith(" ")}
    assert (facts["step"], facts["epoch"]) == (["6"], ["0"])
    assert "job_uid" not in facts
    start = lines.index("config")
    assert "  trainer:" in lines[start:]
    assert max(map(len, lines[: start + 40])) < 200


def test_what_is_no_directory_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["checkpoint", "list", str(tmp_path / "none")]) == 2
    remedy = "Give the log directory of a run, or a checkpoint in it."
    assert capsys.readouterr().err == f"neuron-train: there is no directory {tmp_path / 'none'}. {remedy}\n"
    assert main(["checkpoint", "list", "x" * 300]) == 2
    assert capsys.readouterr().err.startswith("neuron-train: there is no directory xxx")
    broken = tmp_path / "x.ckpt"
    broken.mkdir()
    assert main(["checkpoint", "inspect", str(broken)]) == 2
    said = capsys.readouterr().err
    assert "manifest.json" in said
    assert f"`neuron-train checkpoint list {tmp_path}` shows which checkpoints are complete." in said
    assert main(["checkpoint", "inspect", str(tmp_path / "none")]) == 2
    assert remedy in capsys.readouterr().err


def test_a_pipe_has_whole_names(run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """80 columns cut the name, the very thing to copy; only a terminal has a width."""
    monkeypatch.setenv("COLUMNS", "40")
    long = newest(run).with_name(f"{'name-' * 40}-step=6.ckpt")
    newest(run).rename(long)
    assert main(["checkpoint", "list", str(run)]) == 0
    shown = capsys.readouterr().out
    assert long.name in shown
    assert len([line for line in shown.splitlines() if "complete" in line]) == 3, "a row is a line"
