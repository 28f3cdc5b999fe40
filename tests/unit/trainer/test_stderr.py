"""What processes wrote to their standard error last: real processes, real pipes."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bounds import BOUND
from neuron_trainer.ipc.worker_channel import WorkerChannel
from neuron_trainer.launcher.elastic.stderr import MAX_LINES, Stderr

pytestmark = pytest.mark.slow


class Passed(list[bytes]):
    """What the launcher's own standard error gets."""

    def __call__(self, data: bytes) -> None:
        self.append(data)


@pytest.fixture
def passed() -> Passed:
    return Passed()


@pytest.fixture
def stderr(tmp_path: Path, passed: Passed) -> Iterator[Stderr]:
    made = Stderr(WorkerChannel(tmp_path), 2, passed)
    made.open()
    yield made
    made.close()


def process(folder: Path, local_rank: int, program: str) -> int:
    """A process that joins and runs; its exit code."""
    head = f"import os; from pathlib import Path; from neuron_trainer.ipc.worker_channel import WorkerChannel\n" \
           f"WorkerChannel(Path({str(folder)!r})).redirect_stderr({local_rank})\n"  # fmt: skip
    return subprocess.run([sys.executable, "-c", head + program], timeout=BOUND, check=False).returncode


def test_the_last_words_of_a_native_abort_are_known(stderr: Stderr, tmp_path: Path, passed: Passed) -> None:
    said = "NRT: nrt_execute failed, status_code=1202"
    assert process(tmp_path, 1, f"os.write(2, b'first\\n{said}'); os.abort()") == -6
    assert stderr.tail(1) == f"first\n{said}"
    assert stderr.tail(0) == ""
    assert b"".join(passed) == b"first\n"  # the rest may go on
    stderr.close()
    assert b"".join(passed) == f"first\n{said}".encode()


def test_the_stacks_that_follow_it_do_not_push_them_out(stderr: Stderr, tmp_path: Path, passed: Passed) -> None:
    program = "import faulthandler, threading, time\nfaulthandler.enable()\n" \
              "for _ in range(20): threading.Thread(target=time.sleep, args=[60], daemon=True).start()\n" \
              "os.write(2, b'said\\n'); os.abort()"  # fmt: skip
    assert process(tmp_path, 0, program) == -6
    assert stderr.tail(0).splitlines() == ["said", "Fatal Python error: Aborted"]
    assert len(b"".join(passed).splitlines()) > MAX_LINES


def test_many_lines_pass_whole_and_the_last_are_kept(stderr: Stderr, tmp_path: Path, passed: Passed) -> None:
    count = 20_000  # more than a pipe holds
    assert process(tmp_path, 0, f"import sys\nfor n in range({count}): sys.stderr.write(f'line {{n}}\\n')") == 0
    assert stderr.tail(0).splitlines() == [f"line {n}" for n in range(count - MAX_LINES, count)]
    assert b"".join(passed).decode().splitlines() == [f"line {n}" for n in range(count)]


def test_lines_of_two_processes_are_not_torn(stderr: Stderr, tmp_path: Path, passed: Passed) -> None:
    program = (
        "import sys\nfor n in range(2000):\n    sys.stderr.write('{0}' * 40); sys.stderr.write('{0}' * 40 + '\\n')"
    )
    for rank, letter in enumerate("ab"):
        assert process(tmp_path, rank, program.format(letter)) == 0
    assert stderr.tail(0) and stderr.tail(1)
    assert set(b"".join(passed).splitlines()) == {b"a" * 80, b"b" * 80}


def test_a_new_round_begins_without_the_words_of_the_last(stderr: Stderr, tmp_path: Path) -> None:
    process(tmp_path, 0, "os.write(2, b'old\\n')")
    assert stderr.tail(0) == "old"
    stderr.begin_again()
    process(tmp_path, 0, "os.write(2, b'new\\n')")
    assert stderr.tail(0) == "new"


def test_what_never_ends_its_line_is_passed_on(stderr: Stderr, tmp_path: Path, passed: Passed) -> None:
    process(tmp_path, 0, "os.write(2, b'x' * 10_000)")
    assert len(stderr.tail(0)) >= 10_000
    stderr.close()
    assert b"".join(passed).count(b"x") == 10_000


def test_without_a_launcher_that_asks_for_it_standard_error_stays_where_it_is(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import os, sys; from pathlib import Path\n"
         "from neuron_trainer.ipc.worker_channel import WorkerChannel\n"
         "WorkerChannel(Path(sys.argv[1])).redirect_stderr(0); os.write(2, b'here')", str(tmp_path)],
        timeout=BOUND, check=True, capture_output=True,
    )  # fmt: skip
    assert done.stderr == b"here"


def test_a_standard_error_that_nobody_reads_ends_nothing(tmp_path: Path) -> None:
    def broken(_: bytes) -> None:
        raise BrokenPipeError

    with Stderr(WorkerChannel(tmp_path), 1, broken) as stderr:
        process(tmp_path, 0, "os.write(2, b'a\\nb\\n')")
        assert stderr.tail(0) == "a\nb"


def test_on_a_terminal_there_are_no_pipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with Stderr(WorkerChannel(tmp_path), 2) as stderr:
        assert stderr.tail(1) == ""
        assert not list(tmp_path.iterdir())
