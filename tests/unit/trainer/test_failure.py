"""What a worker fails of that is not the trainer's fault is one line, the last one, with a remedy.

The kind: an expected error of the world (a full or read-only volume, a file that is gone, a missing right) whose
sentence is lost in torch's stacks. Looked at: saves, metrics, data, the log file itself; bugs and modules of the user's
keep their stack.
"""

import errno
import json
import logging
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from neuron_api.config import ExpManagerConfig
from neuron_trainer import errors, logs
from neuron_trainer.errors import CheckpointError, DivergenceError, PeerLostError
from neuron_trainer.launcher.elastic.shared_state import RestartBudget, SharedState

CALLBACK = "exp_manager.checkpoint_callback_params"


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    found = logging.getLogger()
    handlers, level = found.handlers, found.level
    yield found
    found.handlers, found.level = handlers, level


@pytest.mark.parametrize(
    ("problem", "says"),
    [
        (CheckpointError("step 8: rank 0: [Errno 28] No space left on device: '/x'"), f"{CALLBACK}.dirpath"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "metrics.jsonl"), f"{CALLBACK}.save_top_k"),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), "a"), "Free space there"),
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES), "a"), "Let the user of this process"),
        (OSError(errno.EROFS, os.strerror(errno.EROFS), "a"), "Mount the volume writable"),
        (FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "rows"), "Restore it"),
        (DivergenceError("the loss is not finite\nat step 3"), "the loss is not finite at step 3"),
    ],
)
def test_an_error_of_the_world_is_one_line_with_a_remedy(problem: Exception, says: str) -> None:
    sentence = errors.failure_sentence(problem, is_own_module=False)
    assert sentence is not None
    assert says in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("problem", "is_own_module"),
    [
        (ValueError("a bug"), False),
        (OSError("of a library, without a number"), False),
        (FileNotFoundError(errno.ENOENT, "No such file", "theirs"), True),
        (PeerLostError("the launcher did not stop this process"), False),
    ],
)
def test_what_needs_its_stack_keeps_it(problem: Exception, is_own_module: bool) -> None:
    assert errors.failure_sentence(problem, is_own_module=is_own_module) is None


def recorded(tmp_path: Path, message: str, stack: str) -> tuple[str, Any]:
    """What the launcher keeps of a process that failed so."""
    file = tmp_path / "error.json"
    file.write_text(json.dumps({"message": {"message": message, "extraInfo": {"py_callstack": stack}}}))
    failures: list[Any] = []
    parts: Any = SharedState(
        channel=None,  # type: ignore[arg-type]
        status=SimpleNamespace(step=8, add_failure=failures.append),  # type: ignore[arg-type]
        stop=None,  # type: ignore[arg-type]
        budget=RestartBudget(1, rounds=1),
        own_children=set(),
        stderr=SimpleNamespace(tail=lambda _: ""),  # type: ignore[arg-type]
    )
    parts.record_failure(
        0, SimpleNamespace(local_rank=0, exitcode=1, error_file=str(file), timestamp=datetime.now(UTC))
    )
    return parts.last_failure, failures[0]


def test_a_reported_error_is_all_that_the_launcher_says(tmp_path: Path) -> None:
    last, entry = recorded(
        tmp_path, "ReportedError: the disk is full: free it", "Traceback\n  frames\nReportedError: …"
    )
    assert last == "rank 0 failed at step 8: the disk is full: free it"
    assert (entry.message, entry.lines) == ("the disk is full: free it", ())


def test_a_bug_is_told_with_its_stack(tmp_path: Path) -> None:
    last, _ = recorded(tmp_path, "ValueError: a bug", "Traceback\n  frames\nValueError: a bug")
    assert last == "rank 0 failed at step 8: ValueError: a bug\nTraceback\n  frames\nValueError: a bug"


def test_the_stack_is_in_the_log_file_alone(
    root: logging.Logger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure(ExpManagerConfig(), tmp_path, 0, 0)
    try:
        raise OSError(errno.ENOSPC, "No space left on device")
    except OSError as problem:
        logs.stack(problem)
    root.handlers[-1].close()
    (file,) = tmp_path.iterdir()
    assert "Traceback (most recent call last)" in file.read_text()
    assert capsys.readouterr().err == ""


def test_a_log_file_on_a_full_volume_is_one_warning(
    root: logging.Logger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure(ExpManagerConfig(), tmp_path, 0, 0)
    handler: Any = root.handlers[-1]
    handler.stream.close()
    handler.stream = Path("/dev/full").open("w")  # noqa: SIM115
    for _ in range(3):
        root.info("a line")
    with pytest.raises(OSError, match="No space left"):
        handler.stream.close()
    handler.stream = None
    lines = capsys.readouterr().err.splitlines()
    assert [line.count("a line") for line in lines].count(1) == 3
    (warning,) = [line for line in lines if "a line" not in line]
    assert "lines are missing there: [Errno 28] No space left on device" in warning
