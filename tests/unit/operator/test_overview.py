"""`list`, `top`, `describe`, `-o` and `--watch` from sightings that were recorded on a real API server."""

import io
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import yaml

from builders import NOW, at, make_job, with_status
from neuron_api.resource.overview import JobDetail, JobSummary
from neuron_api.resource.status import Phase, ProgressStatus, Restart, RestartScope
from neuron_api.resource.time_spent import TimeSpent
from neuron_operator.cli import output, watching
from neuron_operator.cli.jobs import describe, overview, tables
from neuron_operator.cli.live import screen
from neuron_operator.cli.watching import Frame
from neuron_operator.kube.errors import UnreachableError

from .test_live_commands import STAGES, recorded


def row(name: str, **values: Any) -> JobSummary:
    return JobSummary(**{"namespace": "team", "name": name, "phase": "Running", **values})


def test_top_has_the_best_first_and_those_without_a_number_last() -> None:
    jobs = [
        row("slow", tokens_per_second=10.0, mfu=0.4),
        row("waits", phase="Pending"),
        row("fast", tokens_per_second=2_000_000.0, steps_per_second=0.5, mfu=0.312, goodput=0.97, loss=2.5),
    ]
    assert [job.name for job in tables.ordered(jobs, "tokens")] == ["fast", "slow", "waits"]
    assert [job.name for job in tables.ordered(jobs, "mfu")] == ["slow", "fast", "waits"]
    assert [job.name for job in tables.ordered(jobs, "name")] == ["fast", "slow", "waits"]
    lines = tables.table(tables.ordered(jobs, "tokens"), tables.TOP, NOW, has_namespaces=False).splitlines()
    assert lines[0].split() == (
        ["NAME", "PHASE", "NODES", "DEVICES", "STEPS", "STEPS/S", "TOKENS/S", "MFU", "GOODPUT", "LOSS", "LEFT"]
    )
    assert lines[1].split() == (["fast", "Running", "-", "-", "-", "0.5", "2,000,000", "31.2%", "97%", "2.5000", "-"])
    assert len({len(line) - len(line.lstrip()) for line in lines}) == 1


def test_every_order_is_one_that_sorts() -> None:
    jobs = [row("b", creation_time=NOW), row("a")]
    for key in tables.SORT_KEYS:
        assert {job.name for job in tables.ordered(jobs, key)} == {"a", "b"}


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_is_a_row_and_a_description(stage: str) -> None:
    snapshot, now = recorded(stage)
    job = overview.summary(snapshot.job)
    assert (job.name, job.namespace) == ("tiny", "team")
    assert job.phase == str(snapshot.job.status.phase)
    text = describe.text(overview.detail(snapshot, now), now)
    assert text.startswith("Name:       tiny\nNamespace:  team\n")
    assert all(f"{condition.type}={condition.status}" in text for condition in snapshot.job.status.conditions)


def test_rates_are_those_of_a_job_that_trains() -> None:
    snapshot, _ = recorded("running")
    assert overview.summary(snapshot.job).tokens_per_second == 1000.0
    over, _ = recorded("succeeded")
    assert over.job.status.progress is not None
    assert overview.summary(over.job).tokens_per_second is None


def test_the_seconds_of_a_job_are_those_of_its_account() -> None:
    seconds = {"step": 300.0, "placement": 40.0, "load": 60.0}
    spent = TimeSpent(start_time=at(-420), end_time=at(-20), seconds=seconds, activity="step")
    job = with_status(make_job().build(), start_time=at(-410), time_spent=spent)
    shares = [(share.label, share.seconds) for share in overview.time_shares(job, NOW)]
    assert shares == [("step", 320.0), ("load", 60.0), ("placement", 40.0)]


def test_the_seconds_of_a_job_without_an_account_add_up_to_its_time() -> None:
    progress = ProgressStatus(
        step=100, seconds_per_step=2.0, total_step_seconds=180.0, total_measured_steps=90, last_step_time=NOW
    )
    lost = Restart(
        restart_scope=RestartScope.PROCESS, cause="ProcessFailed", time=NOW, steps_lost=10, recovery_seconds=30.0
    )
    job = with_status(
        make_job().build(),
        phase=Phase.RUNNING,
        start_time=NOW - timedelta(seconds=400),
        progress=progress,
        restarts=(lost,),
        restart_count=1,
        steps_lost=10,
        suspended_seconds=50.0,
    )
    shares = {share.label: share.seconds for share in overview.time_shares(job, NOW)}
    assert shares == {
        overview.SUSPENDED: 50.0,
        overview.KEPT: 200.0,
        overview.REPEATED: 20.0,
        overview.RECOVERY: 30.0,
        overview.OTHER: 100.0,
    }


def test_no_seconds_before_the_start_and_none_beyond_the_time() -> None:
    assert list(overview.time_shares(make_job().build(), NOW)) == []
    progress = ProgressStatus(step=10, total_step_seconds=100.0, total_measured_steps=1)
    job = with_status(make_job().build(), start_time=NOW - timedelta(seconds=60), progress=progress)
    assert [(share.label, share.seconds) for share in overview.time_shares(job, NOW)] == [(overview.KEPT, 60.0)]


@pytest.mark.parametrize("form", output.DATA)
def test_data_are_camel_case_numbers_and_times(form: str) -> None:
    snapshot, now = recorded("restarting")
    text = output.dump(overview.detail(snapshot, now), form)
    data = json.loads(text) if form == "json" else yaml.safe_load(text)
    assert data["ledger"][0]["cause"] == "ProcessFailed"
    assert data["ledger"][0]["number"] == 1
    assert isinstance(data["maxSteps"], int)
    assert JobDetail.model_validate(data).name == "tiny"


# ---- watching ----------------------------------------------------------------------------------------------------


def looks(*frames: Frame | Exception) -> Any:
    rest: Iterator[Frame | Exception] = iter(frames)

    def look() -> Frame:
        frame = next(rest)
        if isinstance(frame, Exception):
            raise frame
        return frame

    return look


def test_a_file_gets_each_change_once_and_the_last_frame_is_returned() -> None:
    stream, pauses = io.StringIO(), list[float]()
    look = looks(
        Frame("a 1s\n", content="a"), Frame("a 2s\n", content="a"), UnreachableError("away"),
        Frame("b\n", is_over=True, has_failed=True, content="b"),
    )  # fmt: skip
    last = watching.run(look, watch=True, stream=stream, pause=pauses.append)
    assert stream.getvalue() == "a 1s\na 2s\naway; trying again\nb\n"
    assert pauses == [watching.INTERVAL] * 3
    assert last.has_failed


def test_without_watch_one_look_is_all() -> None:
    stream = io.StringIO()
    watching.run(looks(Frame("a\n")), watch=False, stream=stream)
    assert stream.getvalue() == "a\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)
def test_colours_are_for_terminals_without_no_color(
    variables: dict[str, str], coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    stream = Terminal()
    screen.draw(iter(["NAME  PHASE\ntiny  Failed\n"]), stream)
    assert ("\x1b[31m" in stream.getvalue()) is coloured
    assert "Failed" in stream.getvalue()
    pipe = io.StringIO()
    watching.run(looks(Frame("tiny  Failed\n")), watch=False, stream=pipe)
    assert "\x1b" not in pipe.getvalue()


def test_a_name_that_looks_like_a_phase_is_not_coloured() -> None:
    coloured = [span for span in screen.coloured("NAME\nFailed-job  Running\n").spans if "green" in str(span.style)]
    assert [(span.start, span.end) for span in coloured] == [(17, 24)]
    assert not [span for span in screen.coloured("NAME\nFailed-job\n").spans if "red" in str(span.style)]
