"""The compile phase as the operator sees it: a phase of its own, and no time of the job's other deadlines."""

from typing import Any

import pytest

from builders import NOW, PodBuilder, at, observed
from neuron_api import contract
from neuron_api.contract import ExitCode
from neuron_api.resource.progress import Progress, TrainerPhase
from neuron_api.resource.reasons import ConditionType, Reason
from neuron_api.resource.status import JobStatus, Phase, Restart, RestartScope
from neuron_operator.planning.failures.hang import detect_hang
from neuron_operator.planning.restarts import ledger
from neuron_operator.planning.status import compilation
from neuron_operator.planning.status.changes import is_progress_only_change

from .passes import JOB, PODS, TWO, compiling, known, one_pass, reparsed, started, true

LIMITED = TWO.spec(activeDeadlineSeconds=3600)
EARLY = TWO.spec(startupPolicy={"firstStepSeconds": 900})


def report(done: int, expected: int, seconds: float = 0.0, pod: PodBuilder = PODS[0], **fields: Any) -> Progress:
    return compiling(done, expected, at(seconds), pod, **fields)


def after(*reports: Progress, job: object = TWO, status: JobStatus | None = None, seconds: float = 1.0) -> JobStatus:
    seen = reparsed(job, status or known(JOB, *PODS, start_time=NOW).status)  # type: ignore[arg-type]
    return one_pass(observed(seen, PODS, list(reports)), seconds)[1]


def test_a_phase_is_a_word_of_its_own_with_its_numbers() -> None:
    status = after(report(3, 10, 340), seconds=341)
    assert status.phase is Phase.COMPILING
    (ready,) = (one for one in status.conditions if one.type is ConditionType.RECONCILING)
    assert ready.reason is Reason.COMPILING
    assert "training step" in ready.message and "3 of 10 graphs after 5m" in ready.message
    assert true(status)[ConditionType.RECONCILING] is Reason.COMPILING


def test_another_run_that_compiles_the_same_is_named() -> None:
    status = after(report(0, 0, holder="process 7 on host a of the job other"))
    assert "being compiled by process 7 on host a of the job other" in status.conditions[0].message


def test_the_phase_ends_with_the_report_that_says_so() -> None:
    done = after(report(10, 10, 600, complete=True), seconds=601)
    assert done.phase is Phase.STARTING
    assert done.compilation is not None and done.compilation.seconds == 600


@pytest.mark.parametrize("phase", [TrainerPhase.STARTING, TrainerPhase.TRAINING])
def test_a_phase_whose_process_was_killed_is_over_when_the_pod_does_something_else(phase: TrainerPhase) -> None:
    left = report(3, 10, 340).model_copy(update={"phase": phase})
    compilation = after(left, status=after(report(3, 10, 340), seconds=341), seconds=400).compilation
    assert compilation is not None and compilation.complete


def test_what_a_lost_pod_reported_is_no_phase_of_its_successor() -> None:
    compiling = after(report(3, 10))
    other = [PODS[0].uid("another"), PODS[1]]
    seen = reparsed(TWO, compiling.model_copy(update={"pods": known(JOB, *other).status.pods}))
    assert one_pass(observed(seen, other), 2)[1].phase is not Phase.COMPILING


def test_seconds_of_a_phase_before_it_are_kept() -> None:
    first = after(report(3, 10, 100), seconds=101)
    second = report(3, 10, 300, since=at(200))
    compilation = after(second, status=first, seconds=301).compilation
    assert compilation is not None and (compilation.earlier_seconds, compilation.seconds) == (100, 100)


def test_a_pod_that_is_lost_in_a_long_graph_is_not_charged_for_it() -> None:
    """Its newest graph was there after 100 seconds; the next one had been compiled for an hour when the node went."""
    left = after(report(3, 10, 100), seconds=101)
    lost = ledger.append(left, Restart(time=at(3700), cause="NodeLost", restart_scope=RestartScope.POD, attempt=0))
    assert compilation.total_seconds(lost) == 3700
    again = after(report(3, 10, 3750, since=at(3720)), status=lost, seconds=3751).compilation
    assert again is not None and (again.earlier_seconds, again.complete) == (3700, False)
    late = after(report(3, 10, 100), status=lost, seconds=3705).compilation
    assert late is not None and late.complete and late.seconds == 3700, "the pod's last report says nothing new"


def test_a_failure_after_the_phase_is_no_time_of_it() -> None:
    done = after(report(10, 10, 600, complete=True), seconds=601)
    lost = ledger.append(done, Restart(time=at(9000), cause="NodeLost", restart_scope=RestartScope.POD, attempt=0))
    assert compilation.total_seconds(lost) == 600


def test_the_deadline_of_the_job_does_not_count_it() -> None:
    assert after(report(3, 10, 3599), job=LIMITED, seconds=3601).phase is Phase.COMPILING
    done = after(report(10, 10, 3000, complete=True), job=LIMITED, seconds=3001)
    assert not after(status=done, job=LIMITED, seconds=6599).finished
    assert after(status=done, job=LIMITED, seconds=6600).phase is Phase.FAILED


def test_the_first_step_is_counted_from_its_end() -> None:
    assert not after(report(3, 10, 5000), job=EARLY, seconds=5001).finished
    done = after(report(10, 10, 5000, complete=True), job=EARLY, seconds=5001)
    assert not after(status=done, job=EARLY, seconds=5899).finished
    assert after(status=done, job=EARLY, seconds=5900).phase is Phase.FAILED


def test_a_graph_may_take_as_long_as_a_first_step_and_no_longer() -> None:
    policy = JOB.spec.hang_policy
    idle = report(3, 10).model_copy(update={"idle_seconds": policy.first_step_seconds})
    assert policy.load_seconds < policy.first_step_seconds and detect_hang(idle, None, policy) is None
    late = idle.model_copy(update={"idle_seconds": policy.first_step_seconds + 1.0})
    assert "compiling for 7201 s" in (detect_hang(late, None, policy) or "")


def test_graphs_are_numbers_that_can_wait_to_be_written() -> None:
    assert is_progress_only_change(after(report(3, 10)), after(report(4, 10, 5), seconds=6))
    assert not is_progress_only_change(after(report(3, 10)), after(report(10, 10, complete=True)))


def test_a_refusal_of_the_compiler_is_not_retried() -> None:
    pods = [PODS[0], PODS[1].failed(ExitCode.COMPILATION, "could not be compiled.\nThe compiler says:\nNCC_EVRF007")]
    _, status = one_pass(observed(known(JOB, *PODS), pods), 1)
    assert status.phase is Phase.FAILED and not status.restarts
    ended = next(one for one in status.conditions if one.type is ConditionType.FAILED)
    assert ended.reason is Reason.COMPILATION_FAILED and "NCC_EVRF007" in ended.message


def test_pods_are_told_the_mode() -> None:
    planned, _ = one_pass(observed(started(TWO.spec(compilePolicy={"mode": "Never"}).build())), 0)
    (container,) = planned.creates[0].body["spec"]["containers"]
    told = {one["name"]: one.get("value") for one in container["env"]}
    assert told[contract.ENV_COMPILE_MODE] == "Never"
