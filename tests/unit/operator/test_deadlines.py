"""A job that takes too long ends with the reason and the remedy of the stage that it is in; suspended time is free."""

import pytest

from builders import NOW, OPTIONS, JobBuilder, PodBuilder, at, make_report, observed, rfc3339, with_status
from neuron_api.resource.progress import PassReport, TrainerPhase
from neuron_api.resource.reasons import ConditionType, Reason
from neuron_api.resource.status import JobStatus, Phase
from neuron_operator.planning.observation.observation import ConfigText
from neuron_operator.planning.planner import plan

from .passes import JOB, PODS, TWO, known, names, one_pass, reparsed, started, true

BOUNDED = TWO.spec(startupPolicy={"schedulingSeconds": 60, "imageSeconds": 300, "firstStepSeconds": 900})
LIMITED = TWO.spec(activeDeadlineSeconds=3600)


def created(pod: PodBuilder, seconds: float) -> PodBuilder:
    return pod._with("metadata", creationTimestamp=rfc3339(at(seconds)))


def placed(pod: PodBuilder, node: str, seconds: float) -> PodBuilder:
    given = {"type": "PodScheduled", "status": "True", "lastTransitionTime": rfc3339(at(seconds))}
    return pod._with("spec", nodeName=node)._with("status", conditions=[given])


BARE = [PodBuilder({**pod.body, "spec": {}, "status": {"phase": "Pending"}}) for pod in PODS]
"""Freshly created."""


def failed(job: JobBuilder, pods: list[PodBuilder], seconds: float, status: JobStatus | None = None) -> str:
    """The reason and message of a job that has failed at this moment, and goes on a millisecond before."""
    seen = reparsed(job, status or known(JOB, *pods).status)
    planned, before = one_pass(observed(seen, pods), seconds - 0.001)
    assert not before.finished
    assert planned.requeue_after is not None
    assert planned.requeue_after <= 0.0011, "nothing announces a deadline"
    planned, after = one_pass(observed(seen, pods), seconds)
    assert after.phase is Phase.FAILED
    assert planned.deletes == (), "decided, not done"
    ended = next(c for c in after.conditions if c.type is ConditionType.FAILED)
    assert true(after)[ConditionType.STALLED] is ended.reason
    return f"{ended.reason}: {ended.message}"


def test_a_job_over_its_time_is_told_to_save_and_has_failed() -> None:
    status = known(JOB, *PODS, start_time=NOW).status
    assert failed(LIMITED, PODS, 3600, status).startswith("DeadlineExceeded: spec.activeDeadlineSeconds (3600)")
    _, over = one_pass(observed(reparsed(LIMITED, status), PODS), 3600)
    planned, _ = one_pass(observed(reparsed(LIMITED, over), PODS), 3601)
    assert [(one.name, one.force) for one in planned.deletes] == [("tiny-0-0", False), ("tiny-0-1", False)]


def test_time_in_which_the_job_was_suspended_does_not_count() -> None:
    status = known(JOB, *PODS, start_time=NOW, suspended_seconds=1000.0).status
    assert failed(LIMITED, PODS, 4600, status).startswith("DeadlineExceeded")
    _, stopped = one_pass(observed(reparsed(LIMITED.spec(suspend=True), status), PODS), 100)
    _, much_later = one_pass(observed(reparsed(LIMITED.spec(suspend=True), stopped), []), 99_999)
    assert much_later.phase is Phase.SUSPENDED


def test_a_deadline_may_be_changed_while_the_job_runs() -> None:
    status = known(JOB, *PODS, start_time=NOW).status
    _, longer = one_pass(observed(reparsed(LIMITED.spec(activeDeadlineSeconds=7200), status), PODS), 3600)
    assert not longer.finished
    assert failed(LIMITED.spec(activeDeadlineSeconds=60), PODS, 60, status).startswith("DeadlineExceeded")


def test_a_job_that_has_not_been_started_has_time() -> None:
    _, status = one_pass(observed(LIMITED.build(), missing_claims=("training",)), 99_999)
    assert not status.finished


def test_a_refused_job_whose_pods_run_has_a_deadline_too() -> None:
    gone = ConfigText(None, "there is no ConfigMap c. Create it.")
    job = reparsed(LIMITED, known(JOB, *PODS, start_time=NOW).status)
    planned, status = one_pass(observed(job, PODS, config=gone), 3599)
    assert (status.phase, planned.requeue_after) == (Phase.PENDING, 1.0)
    _, status = one_pass(observed(job, PODS, config=gone), 3600)
    assert true(status)[ConditionType.FAILED] is Reason.DEADLINE_EXCEEDED


def test_a_pod_without_a_node_quotes_the_scheduler() -> None:
    pods = [PODS[0], created(BARE[1], 10).unschedulable("0/3 nodes are available.")]
    said = failed(BOUNDED, pods, 70)
    assert said.startswith("SchedulingDeadlineExceeded: Pod tiny-0-1 has no node after startupPolicy.sched")
    assert "The scheduler says: 0/3 nodes are available. Add nodes" in said


def test_a_container_that_does_not_run_quotes_the_kubelet() -> None:
    pods = [PODS[0], placed(created(BARE[1], 0), "node-1", 30).waiting("ImagePullBackOff", "no such image.")]
    said = failed(BOUNDED, pods, 330)
    assert said.startswith("ImageDeadlineExceeded: The container of pod tiny-0-1 does not run on node node-1")
    assert "The kubelet says: ImagePullBackOff: no such image. Fix" in said


def test_a_first_step_that_does_not_come_is_counted_from_the_last_container() -> None:
    def since(pod: PodBuilder, seconds: float) -> PodBuilder:
        return pod._container({"running": {"startedAt": rfc3339(at(seconds))}})

    pods = [since(PODS[0], 10), since(PODS[1], 40)]
    assert failed(BOUNDED, pods, 940).startswith("FirstStepDeadlineExceeded: No step was finished")


def test_a_first_step_after_a_failure_is_counted_from_it() -> None:
    job = reparsed(BOUNDED, known(JOB, *PODS).status)
    failing = make_report(PODS[0].build(), JOB).round(1).failure(0, 1, when=at(5000)).build()
    _, status = one_pass(observed(job, PODS, [failing]), 5001)
    assert len(status.restarts) == 1
    assert not one_pass(observed(reparsed(BOUNDED, status), PODS, [failing]), 5899)[1].finished
    assert one_pass(observed(reparsed(BOUNDED, status), PODS, [failing]), 5900)[1].phase is Phase.FAILED


def test_a_first_step_after_a_pass_of_the_reference_is_counted_from_its_end() -> None:
    """The pass of DPO may take hours, and it says that it goes on."""
    job = reparsed(BOUNDED, known(JOB, *PODS).status)

    def at_second(second: float, last: float) -> JobStatus:
        done = PassReport(done=10, total=20, time=at(last))
        changes = {"reference": done, "phase": TrainerPhase.LOADING, "step": 0, "last_step_time": None}
        report = make_report(PODS[0].build(), JOB).build().model_copy(update=changes)
        return one_pass(observed(job, PODS, [report]), second)[1]

    assert not at_second(5899, 5000).finished
    assert at_second(5900, 5000).phase is Phase.FAILED
    progress = at_second(5899, 5000).progress
    assert progress is not None and progress.reference_time == at(5000)


@pytest.mark.parametrize(
    "pods",
    [
        [created(BARE[0], 0), PODS[1]],
        [placed(created(BARE[0], 0), "n", 0), PODS[1]],
        PODS,
    ],
)
def test_without_bounds_a_start_is_waited_for(pods: list[PodBuilder]) -> None:
    _, status = one_pass(observed(known(JOB, *pods), pods), 10_000_000)
    assert not status.finished


def test_a_job_that_trains_has_no_start_to_be_late_with() -> None:
    report = make_report(PODS[0].build(), JOB).step(3, at(100)).build()
    job = reparsed(BOUNDED, known(JOB, *PODS).status)
    _, status = one_pass(observed(job, PODS, [report]), 99_999)
    assert status.phase is Phase.RUNNING
    planned = plan(observed(reparsed(BOUNDED, status), PODS, [report]), OPTIONS, at(99_999))
    assert planned.requeue_after == OPTIONS.poll_seconds


def test_of_two_that_are_over_the_first_is_told() -> None:
    job = TWO.spec(activeDeadlineSeconds=100, startupPolicy={"schedulingSeconds": 60})
    pods = [created(BARE[0], 0), created(BARE[1], 0)]
    seen = with_status(reparsed(job, known(JOB, *pods).status), start_time=NOW)
    _, status = one_pass(observed(seen, pods), 5000)
    assert true(status)[ConditionType.FAILED] is Reason.SCHEDULING_DEADLINE_EXCEEDED


def test_a_job_that_succeeds_at_its_last_moment_has_succeeded() -> None:
    pods = [pod.succeeded() for pod in PODS]
    _, status = one_pass(observed(with_status(reparsed(LIMITED, known(JOB, *PODS).status), start_time=NOW), pods), 3600)
    assert status.phase is Phase.SUCCEEDED


def test_pods_that_go_are_not_late() -> None:
    pods = [created(BARE[0], 0).terminating(), PODS[1]]
    _, status = one_pass(observed(reparsed(BOUNDED, known(JOB, *PODS).status), pods), 100)
    assert not status.finished
    assert names(one_pass(observed(started(JOB), []), 100)[0]) == []
