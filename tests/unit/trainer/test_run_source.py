"""Curves of a run, and a run as the dashboard shows it, from the files of its log directory."""

import math
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from neuron_api import contract
from neuron_dashboard.source import SourceError
from neuron_trainer.__main__ import main
from neuron_trainer.cli.run_source import RunSource
from neuron_trainer.metrics.curves import CurveReader, curves
from neuron_trainer.metrics.history import StartRecord, StepMetrics, ValidationMetrics, open_history
from neuron_trainer.metrics.run_reader import RunReader
from neuron_trainer.storage import lease

BEGIN = 1_790_000_000.0


def step(number: int, loss: float = 2.0, **values: Any) -> StepMetrics:
    return StepMetrics(number, loss, 1e-3, 0.5, 8 * number, 1000.0, BEGIN + 2 * number, **values)


def write(folder: Path, steps: int = 10, max_steps: int = 20) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = open_history(folder)
    file.begin(StartRecord(0, 0, BEGIN))
    for number in range(1, steps + 1):
        file.append(step(number, 3 - number / 10))
    file.append(ValidationMetrics(steps, 2.5, BEGIN))
    (folder / "config.resolved.yaml").write_text(f"name: tiny\ntrainer: {{max_steps: {max_steps}, devices: 2}}\n")
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write(tmp_path / "tiny")


def source(folder: Path, seconds: float = 30.0) -> RunSource:
    return RunSource({"tiny": folder}, now=lambda: BEGIN + seconds)


def test_every_quantity_that_the_run_has_is_a_curve(run: Path) -> None:
    shown = curves(RunReader(run).read())
    assert [curve.label for curve in shown.curves] == ["loss", "learning rate", "gradient norm", "tokens per second"]
    assert shown.steps == tuple(range(1, 11))
    assert shown.curves[0].values[0] == pytest.approx(2.9)
    assert [(point.step, point.value) for point in shown.validations] == [(10, 2.5)]
    assert [start.step for start in shown.starts] == [0]


def test_a_loss_that_is_no_number_is_a_gap(run: Path) -> None:
    open_history(run).append(step(11, math.nan))
    assert curves(RunReader(run).read()).curves[0].values[-1] is None


def test_the_files_are_read_again_only_when_they_have_changed(run: Path) -> None:
    reader = CurveReader(RunReader(run))
    first = reader.read()
    assert reader.read() is first
    open_history(run).append(step(11))
    assert reader.read().steps[-1] == 11
    assert CurveReader(RunReader(run / "nowhere")).read().steps == ()


def test_a_run_has_phase_pace_and_time_left(run: Path) -> None:
    job = source(run).job("tiny")
    assert (job.phase, job.step, job.max_steps) == ("Running", 10, 20)
    assert job.steps_per_second == pytest.approx(0.5)
    assert job.remaining_seconds == pytest.approx(20)
    assert job.explanation == "tiny trains: step 10 was finished last."
    assert [(fact.label, fact.value) for fact in job.facts][1] == ("trainer.max_steps", "20")
    assert [share.label for share in job.time_shares] == ["steps that were kept"]
    later = source(run, 1_000).job("tiny")
    assert (later.phase, later.tokens_per_second, later.is_finished) == ("Stopped", None, False)
    over = source(write(run, 20)).job("tiny")
    assert (over.phase, over.is_finished) == ("Succeeded", True)
    (run / "empty").mkdir()
    assert source(run / "empty").job("tiny").phase == "Pending"


def test_a_run_that_was_started_again_has_a_line_for_it(run: Path) -> None:
    open_history(run).begin(StartRecord(8, 2, BEGIN + 25))
    job = source(run).job("tiny")
    assert (job.restarts, job.steps_lost) == (1, 2)
    assert (job.ledger[0].resumed_from_step, job.ledger[0].steps_lost) == (8, 2)
    assert {share.label for share in job.time_shares} >= {"steps that were kept"}


def test_a_checkpoint_is_shown(run: Path) -> None:
    assert source(run).job("tiny").checkpoints == ()


def test_what_a_run_cannot_do_is_said(run: Path) -> None:
    with pytest.raises(SourceError, match="Ctrl-C"):
        source(run).set_suspend("tiny", suspend=True)
    for read in (source(run).job, source(run).curves, source(run).log):
        with pytest.raises(SourceError, match="there is no run other here"):
            read("other")


def test_a_change_of_the_files_is_shown(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neuron_trainer.cli.run_source._INTERVAL", 0.01)
    stopped, shown = threading.Event(), list[int]()

    def show(jobs: Any) -> None:
        shown.append(jobs[0].step)
        if len(shown) == 1:
            open_history(run).append(step(11))
        else:
            stopped.set()

    source(run).watch(show, stopped)
    assert shown == [10, 11]


_REST = '"lr": 1, "gradient_norm": 1, "consumed_samples": 1, "tokens_per_second": 1'
LINE = '{{"step": 11, "loss": {}, "time": {}, ' + _REST + "}}\n"


@pytest.mark.parametrize(
    "line",
    [
        b"\xff\xfe\n",
        LINE.format("2", "null").encode(),
        LINE.format("2", "1e300").encode(),
        LINE.format('"x"', "1").encode(),
        b"[1]\n",
        b"{" * 100_000 + b"\n",
        b'{"step": 1e999}\n',
    ],
)
def test_a_line_that_says_nothing_is_left_out_and_the_next_one_counts(run: Path, line: bytes) -> None:
    with (run / contract.METRICS_FILE).open("ab") as file:
        file.write(line)
    assert source(run).job("tiny").step == 10
    open_history(run).append(step(12))
    job = source(run).job("tiny")
    assert job.step == 12
    assert source(run).curves("tiny").steps == (*range(1, 11), 12)


def test_a_file_that_cannot_be_read_is_a_sentence_and_the_other_runs_are_shown(run: Path, tmp_path: Path) -> None:
    (tmp_path / "other" / contract.METRICS_FILE).mkdir(parents=True)
    both = RunSource({"tiny": run, "other": tmp_path / "other"}, now=lambda: BEGIN + 30)
    for read in (both.job, both.curves):
        with pytest.raises(SourceError, match=r"metrics\.jsonl cannot be read: Is a directory"):
            read("other")
        assert read("tiny")
    stopped, shown = threading.Event(), list[Any]()

    def show(jobs: Any) -> None:
        shown.extend(jobs)
        stopped.set()

    both.watch(show, stopped)
    assert [(job.name, job.phase) for job in shown] == [("tiny", "Running"), ("other", "Unreadable")]
    assert "cannot be read: Is a directory" in shown[1].message


def test_a_run_that_says_that_it_is_over_has_stopped_at_once(run: Path) -> None:
    held = lease.DirectoryLease(run, lease.myself())
    held.acquire()
    assert source(run).job("tiny").phase == "Running"
    held.release()
    assert source(run).job("tiny").phase == "Stopped"


def test_a_directory_that_goes_away_is_said(run: Path) -> None:
    looked = source(run)
    assert looked.job("tiny").phase == "Running"
    shutil.rmtree(run)
    assert looked._summary_or_problem("tiny").phase == "Unreadable"
    with pytest.raises(SourceError, match="tiny cannot be read: it is no longer there"):
        looked.job("tiny")


def test_lines_that_say_nothing_and_a_loss_that_is_no_number_are_said(run: Path) -> None:
    with (run / contract.METRICS_FILE).open("ab") as file:
        file.write(b"\x00\x01\n\xff\n")
    open_history(run).append(step(11, math.nan))
    job = source(run).job("tiny")
    assert job.message == "2 lines of metrics.jsonl cannot be read. The loss of step 11 is not a number."
    assert job.explanation.endswith(job.message)


def test_other_runs_are_shown_before_a_long_one_is_read(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neuron_trainer.cli.run_source._LARGE", 2000)
    long = write(tmp_path / "long", 100)
    both = RunSource({"long": long, "tiny": run}, now=lambda: BEGIN + 30)
    stopped, shown = threading.Event(), list[list[tuple[str, int]]]()

    def show(jobs: Any) -> None:
        shown.append([(job.name, job.step) for job in jobs])
        if len(shown) == 2:
            stopped.set()

    both.watch(show, stopped)
    assert shown == [[("long", 0), ("tiny", 10)], [("long", 100), ("tiny", 10)]]


def test_a_look_at_a_run_that_stands_still_reads_nothing(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second of 50,000 lines was 1.6 s of work."""
    looked = source(run)
    first = looked.job("tiny")
    for module in ("neuron_trainer.metrics.run_reader.parse", "yaml.safe_load"):
        monkeypatch.setattr(module, lambda *_: pytest.fail("read again"))
    assert looked.job("tiny") == first


def test_a_directory_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboard", str(tmp_path / "no-run")]) == 2
    assert "there is no directory" in capsys.readouterr().err
    assert contract.METRICS_FILE == "metrics.jsonl"
