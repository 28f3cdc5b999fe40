"""`neuron-train test` as a command, on two processes: the loss that the run itself had at its last validation."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bounds import BOUND

from .tiny import config, write_config

pytestmark = pytest.mark.distributed


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "neuron_trainer", *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=BOUND)


def test_the_newest_checkpoint_of_a_run_is_tested(tiny: Path, tmp_path: Path) -> None:
    values = config(tiny, tmp_path / "log", trainer__num_nodes=1, trainer__max_steps=4)
    values["trainer"] |= {"limit_val_batches": 3, "val_check_interval": 4, "limit_test_batches": 3}
    values["data"] |= {"val_dir": str(tiny / "data"), "test_dir": str(tiny / "data")}
    path = str(write_config(tmp_path / "config.yaml", values))
    early = command("test", path)
    assert early.returncode == 2
    assert "there is no complete checkpoint of this run" in early.stderr
    trained = command("run", path)
    assert trained.returncode == 0, trained.stderr
    before = sorted({one.name for one in (tmp_path / "log").rglob("*")})
    tested = command("test", path)
    assert tested.returncode == 0, tested.stderr
    line = json.loads((tmp_path / "log" / "tests.jsonl").read_text())
    validated = json.loads((tmp_path / "log" / "validations.jsonl").read_text())
    assert (line["step"], line["batches"]) == (4, 3)
    assert line["test_loss"] == validated["val_loss"]
    assert sorted({*before, "tests.jsonl"}) == sorted({one.name for one in (tmp_path / "log").rglob("*")})
