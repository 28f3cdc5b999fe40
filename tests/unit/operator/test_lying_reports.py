"""Reports that are well formed and wrong: a pod may say what it likes about itself, and nothing about anybody else.

`test_progress_reader.py` has what is no report at all. Here each lie goes through whole passes, with the status stored
and read again in between: no pass raises, the status can be stored and shown, no job ends and no pod is deleted by it,
and the next honest report is taken up. The one thing that a pod can bring upon its own job is a restart, as it can by
exiting: by the failures and the idle time that it reports. How far this looked: jumps of numbers, times, phases, text,
rounds, failures, recoveries, checkpoints; pod 0 and another; the last words of a container.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import NOW, ReportBuilder, at, make_job, make_pod, make_report, observed, running_gang
from neuron_api.resource import progress as wire
from neuron_api.resource.job import NeuronTrainingJob
from neuron_api.resource.progress import Progress, TrainerPhase
from neuron_api.resource.status import JobStatus, Phase, RestartScope
from neuron_api.resource.wire_values import MAX_COUNT, MAX_SECONDS
from neuron_operator.cli.live import failure_log
from neuron_operator.monitoring.job_metrics import GAUGES
from neuron_operator.planning.failures.failure import classify_exit

from .passes import JOB, PODS, TWO, known, one_pass, reparsed

EARLY: Final = datetime(1970, 1, 1, tzinfo=UTC)
LATE: Final = datetime(8999, 12, 31, tzinfo=UTC)
EVIL: Final = "\x1b[2J\x1b]0;owned\x07\nE0000 all nodes deleted\u202e\x00"
HOST: Final = make_report(PODS[0].build(), JOB)
HONEST: Final = HOST.step(40, NOW, max_steps=100)


def checkpoint(**values: Any) -> ReportBuilder:
    return HONEST._with(checkpoint=wire.CheckpointReport(**values))


def recoveries() -> ReportBuilder:
    report = HONEST
    for number in range(32):
        report = report.recovery(number * 10**13, number, MAX_COUNT, LATE if number % 2 else EARLY)
    return report


def evil_failure() -> ReportBuilder:
    return HONEST.round(1).failure(0, 0, 1, message=EVIL, lines=(EVIL,) * 8)


def failures() -> ReportBuilder:
    report = HONEST.round(MAX_COUNT)
    for number in range(32):
        report = report.failure(number * 10**13, number, number, at(number))
    return report


LIES: Final[dict[str, Callable[[], ReportBuilder]]] = {
    "a step of 10**15": lambda: HONEST.step(MAX_COUNT),
    "back to step 0": lambda: HONEST.step(0),
    "a step after the end": lambda: HONEST.step(101),
    "maxSteps of 0": lambda: HONEST._with(max_steps=0),
    "maxSteps of 10**15": lambda: HONEST._with(max_steps=MAX_COUNT),
    "the last step long ago": lambda: HONEST.step(41, EARLY),
    "the last step in 7,000 years": lambda: HONEST.step(41, LATE),
    "started in 7,000 years": lambda: HONEST.started(LATE),
    "started long ago": lambda: HONEST.started(EARLY),
    "a round of 10**15": lambda: HONEST.round(MAX_COUNT),
    "it has succeeded": lambda: HONEST.phase(TrainerPhase.SUCCEEDED),
    "it has failed": lambda: HONEST.phase(TrainerPhase.FAILED),
    "huge numbers": lambda: HONEST._with(loss=1.7e308, tokens_per_second=-1.7e308, learning_rate=1.7e308),
    "a checkpoint elsewhere": lambda: checkpoint(step=MAX_COUNT, path="../../../etc/passwd", time=LATE),
    "a checkpoint of a terminal": lambda: checkpoint(step=3, path=EVIL, time=EARLY),
    "a recovery from nothing": lambda: HONEST.recovery(0, MAX_COUNT, MAX_COUNT, EARLY),
    "32 recoveries": recoveries,
    "another pod's UID": lambda: HONEST._with(pod_uid="pod-0-1", step=99),
    "another job's UID": lambda: HONEST._with(job_uid="uid-of-other", step=99),
    "another attempt": lambda: HONEST._with(attempt=MAX_COUNT, step=99),
    "another rank": lambda: HONEST._with(node_rank=0, step=41),
}
FAILURES: Final[dict[str, Callable[[], ReportBuilder]]] = {
    "a failure long ago": lambda: HONEST.started(EARLY).failure(0, 0, 1, EARLY),
    "a failure in 7,000 years": lambda: HONEST.round(1).failure(0, 0, 1, LATE),
    "a failure of a rank of 10**15": lambda: HONEST.round(1).failure(0, MAX_COUNT, -(2**31)),
    "a failure of a terminal": evil_failure,
    "32 failures in rounds far apart": failures,
    "idle for 32 years": lambda: HONEST._with(idle_seconds=MAX_SECONDS),
}
"""What a pod may bring upon its own job."""


def over_the_wire(report: ReportBuilder) -> Progress:
    return wire.from_json(wire.to_json(report.build()))


def told(job: NeuronTrainingJob, report: ReportBuilder | Progress, seconds: float) -> tuple[Any, JobStatus]:
    """One pass with this report; the status as it is stored."""
    planned, status = one_pass(observed(job, PODS, [report]), seconds)
    stored = reparsed(TWO, status).status
    assert stored == status, "what is stored is what was meant"
    return planned, stored


def shown(status: JobStatus) -> str:
    return status.model_dump_json(by_alias=True, exclude_none=True)


def check(status: JobStatus) -> None:
    text = shown(status)
    assert "NaN" not in text
    assert "Infinity" not in text
    assert "\\u001b" not in text
    assert "\u202e" not in text
    assert len(text) < 100_000
    for _, value in GAUGES.values():
        value(status)


@pytest.mark.parametrize("name", LIES)
def test_no_lie_ends_a_job_or_deletes_a_pod_and_the_next_honest_report_counts(name: str) -> None:
    _, before = told(known(JOB, *PODS), HONEST, 1)
    lie = over_the_wire(LIES[name]())
    job = reparsed(TWO, before)
    for seconds in (2, 3):
        planned, status = told(job, lie, seconds)
        check(status)
        assert (planned.deletes, planned.creates) == ((), ())
        assert status.phase in (Phase.RUNNING, Phase.STARTING, Phase.RESTARTING)
        assert status.completion_time is None
        assert status.restarts == before.restarts
        job = reparsed(TWO, status)
    _, after = told(job, HONEST.step(42, at(9), max_steps=100), 10)
    check(after)
    assert after.progress is not None
    assert (after.progress.step, after.progress.max_steps) == (42, 100)


@pytest.mark.parametrize("name", FAILURES)
def test_what_a_pod_says_of_its_own_failures_costs_its_own_job_no_more_than_a_restart(name: str) -> None:
    job = known(JOB, *PODS)
    lie = over_the_wire(FAILURES[name]())
    for seconds in range(1, 6):
        planned, status = told(job, lie, seconds)
        check(status)
        assert {delete.name for delete in planned.deletes} <= {"tiny-0-0", "tiny-0-1"}
        assert status.excluded_nodes == ()
        assert len([entry for entry in status.restarts if entry.restart_scope is not RestartScope.PROCESS]) <= 1
        job = reparsed(TWO, status)


def test_another_pods_lies_are_its_own() -> None:
    """Pod 1 says nothing about steps, rounds, the end or checkpoints of the job."""
    liar = make_report(PODS[1].build(), JOB)
    saved = wire.CheckpointReport(step=99, path="/", time=LATE)
    lie = liar.step(99, LATE, max_steps=1)._with(checkpoint=saved, round=MAX_COUNT, idle_seconds=MAX_SECONDS)
    job = known(JOB, *PODS)
    planned, status = one_pass(observed(job, PODS, [HONEST, lie]), 1)
    assert planned.deletes == ()
    assert status.checkpoint is None
    assert status.progress is not None
    assert (status.progress.step, status.progress.max_steps, status.progress.round) == (40, 100, 0)


def test_the_last_words_of_a_container_command_no_terminal() -> None:
    pod = make_pod(JOB).failed(1, f"rank 0 failed at step 3: {EVIL}\nline\twith a tab\n{EVIL}last").build()
    loss = classify_exit(pod)
    assert loss is not None
    assert "\n" in loss.message
    assert all(line.isprintable() for line in loss.message.split("\n"))
    assert (loss.rank, loss.step) == (0, 3)
    assert loss.last_line.endswith("last")


def test_last_words_are_shown_by_kubectl_neuron_without_commands_for_a_terminal() -> None:
    pods = [make_pod(JOB, index).failed(1, f"{EVIL}{index}").build() for index in range(2)]
    failure = failure_log.find(JOB, pods)
    assert failure is not None
    lines = failure_log.without_log(failure, pods, pod_exists=False)
    assert any("owned" in line for line in lines)
    assert all(part.isprintable() for line in lines for part in line.split("\n"))


def test_last_words_that_are_a_report_are_read_as_strictly() -> None:
    assert wire.from_final_report('{"step": -1}') is None
    assert wire.from_final_report('{"step": 1e30}') is None
    found = wire.from_final_report('{"step": 3, "loss": NaN, "logDir": "\\u001b[2J"}')
    assert found is not None
    assert (found.step, found.loss, found.log_dir) == (3, None, "\\x1b[2J")


MOMENTS = st.datetimes(EARLY.replace(tzinfo=None), LATE.replace(tzinfo=None), timezones=st.just(UTC))
COUNTS = st.integers(0, MAX_COUNT)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "phase": st.sampled_from(TrainerPhase),
                "step": COUNTS,
                "round": COUNTS,
                "max_steps": st.none() | COUNTS,
                "last_step_time": st.none() | MOMENTS,
                "start_time": st.none() | MOMENTS,
                "idle_seconds": st.none() | st.floats(0, MAX_SECONDS),
                "loss": st.floats(),
                "tokens_per_second": st.floats(),
                "pod_uid": st.sampled_from(("", "pod-0-0", "pod-0-1")),
                "failures": st.lists(
                    st.builds(
                        wire.ProcessFailure,
                        time=MOMENTS, round=COUNTS, rank=COUNTS, local_rank=COUNTS,
                        exit_code=st.integers(-(2**31), 2**31 - 1), message=st.text(max_size=20),
                    ),
                    max_size=3,
                ).map(tuple),
                "recoveries": st.lists(
                    st.builds(
                        wire.Recovery,
                        round=COUNTS, resumed_from_step=COUNTS, steps_lost=COUNTS,
                        first_step_time=st.none() | MOMENTS,
                    ),
                    max_size=3,
                ).map(tuple),
            }
        ),
        min_size=1,
        max_size=4,
    )
)  # fmt: skip
def test_no_sequence_of_reports_breaks_a_pass(lies: list[dict[str, Any]]) -> None:
    job, pods = make_job().nodes(2), running_gang(JOB)
    current = known(job.build(), *pods)
    for number, lie in enumerate(lies):
        report = over_the_wire(HOST._with(**lie))
        _, status = one_pass(observed(current, pods, [report]), number + 1)
        check(status)
        current = reparsed(job, status)
        assert current.status == status
