"""What workers and launcher tell each other arrives whole."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bounds import BOUND
from neuron_api.resource.progress import Progress, TrainerPhase
from neuron_trainer.ipc.worker_channel import Start, WorkerChannel
from neuron_trainer.storage.files import replace


@pytest.fixture
def handoff(tmp_path: Path) -> WorkerChannel:
    return WorkerChannel(tmp_path)


def test_a_start_arrives_as_it_was_written(handoff: WorkerChannel) -> None:
    start = Start(3, "/log/x.ckpt", weights_only=True, last_step=7)
    handoff.write_start(start)
    assert handoff.read_start() == start


def test_a_new_start_clears_what_belongs_to_the_round_before(handoff: WorkerChannel) -> None:
    handoff.report_lost(1, "Connection reset by peer")
    assert handoff.lost() == {1: "Connection reset by peer"}
    handoff.write_start(Start(1))
    assert handoff.lost() == {}


def test_the_wish_to_stop_is_seen(handoff: WorkerChannel) -> None:
    assert not handoff.is_stopping
    handoff.ask_to_stop()
    assert handoff.is_stopping


def test_progress_arrives_and_is_none_before_the_first(handoff: WorkerChannel) -> None:
    assert handoff.read_progress() is None
    handoff.write_progress(Progress(phase=TrainerPhase.TRAINING, step=5))
    found = handoff.read_progress()
    assert found is not None
    assert (found.phase, found.step) == (TrainerPhase.TRAINING, 5)


def test_a_reader_never_sees_half_of_a_text(tmp_path: Path) -> None:
    path = tmp_path / "text"
    replace(path, "a" * 100_000)
    writer = subprocess.Popen(
        [sys.executable, "-c", "import sys\nfrom pathlib import Path\n"
         "from neuron_trainer.storage.files import replace\n"
         "while True:\n    for c in 'ab': replace(Path(sys.argv[1]), c * 100_000)", str(path)],
    )  # fmt: skip
    try:
        seen, deadline = set(), time.monotonic() + BOUND
        while len(seen) < 2 and time.monotonic() < deadline:
            text = path.read_text()
            assert len(text) == 100_000
            assert len(set(text)) == 1
            seen.add(text[0])
        assert seen == {"a", "b"}
    finally:
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
