"""What pod 0 reports, taken over into the status; nothing goes back when a new pod has not begun yet."""

from typing import Any

import pytest

from builders import NOW, ReportBuilder, at, make_job, make_pod, make_report, observed
from neuron_api.resource.progress import TrainerPhase
from neuron_api.resource.status import CheckpointStatus, JobStatus, ProgressStatus
from neuron_operator.planning.failures import gang as gangs
from neuron_operator.planning.status import progress
from neuron_operator.planning.status.changes import announcements

JOB = make_job().nodes(2).build()
PODS = [make_pod(JOB, index).ready() for index in range(2)]
HOST = make_report(PODS[0].build(), JOB)
BEFORE = ProgressStatus(step=40, loss=2.5, tokens_per_second=100.0, last_step_time=NOW, pod_uid="pod-0-0", round=1)


def update(status: JobStatus, report: ReportBuilder | None, max_steps: int | None = None) -> JobStatus:
    return progress.update(status, report.build() if report else None, "pod-0-0", max_steps)


def test_numbers_of_a_step_are_taken_over() -> None:
    report = HOST.round(2).step(41, at(9), loss=2.25, tokens_per_second=123.0, max_steps=100)
    assert update(JobStatus(progress=BEFORE), report).progress == ProgressStatus(
        step=41,
        furthest_step=41,
        max_steps=100,
        loss=2.25,
        tokens_per_second=123.0,
        last_step_time=at(9),
        pod_uid="pod-0-0",
        round=2,
    )


def test_an_unreachable_pod_changes_nothing() -> None:
    status = JobStatus(progress=BEFORE)
    assert update(status, None) is status


@pytest.mark.parametrize("phase", [TrainerPhase.STARTING, TrainerPhase.RENDEZVOUS, TrainerPhase.LOADING])
def test_a_pod_that_has_not_begun_keeps_the_numbers_of_its_predecessor(phase: TrainerPhase) -> None:
    found = update(JobStatus(progress=BEFORE), HOST.phase(phase)).progress
    assert found is not None
    assert (found.step, found.loss, found.round, found.last_step_time) == (40, 2.5, 0, None)


def test_training_from_an_older_checkpoint_shows_the_older_step() -> None:
    found = update(JobStatus(progress=BEFORE), HOST.step(21)).progress
    assert found is not None
    assert found.step == 21


def test_the_last_step_is_the_configurations_where_the_trainer_does_not_say() -> None:
    assert update(JobStatus(), HOST, 100).progress == ProgressStatus(max_steps=100, pod_uid="pod-0-0")


def test_a_checkpoint_stays_known_when_a_new_pod_does_not_know_it() -> None:
    status = update(JobStatus(), HOST.checkpoint(20))
    assert status.checkpoint == CheckpointStatus(step=20, path="/training/step=20.ckpt", time=NOW)
    assert update(status, HOST).checkpoint == status.checkpoint


@pytest.mark.parametrize(
    ("change", "trusted"),
    [
        ({}, True),
        ({"pod_uid": "", "job_uid": ""}, True),
        ({"pod_uid": "the next pod with this address"}, False),
        ({"job_uid": "another job"}, False),
        ({"attempt": 1}, False),
    ],
)
def test_an_answer_counts_only_if_it_is_of_the_pod_that_was_asked(change: dict[str, Any], trusted: bool) -> None:
    seen = observed(JOB, PODS, [HOST._with(**change)])
    gang = gangs.assemble(seen, JOB.status, 2)
    assert bool(progress.trusted(seen, gang)) is trusted


def test_an_answer_of_a_place_without_a_pod_is_not_trusted() -> None:
    seen = observed(JOB, PODS[1:], [HOST])
    assert progress.trusted(seen, gangs.assemble(seen, JOB.status, 2)) == {}


def test_stepping_is_said_of_the_pod_that_told_it() -> None:
    status = JobStatus(progress=BEFORE)
    assert progress.is_stepping(status, "pod-0-0")
    assert not progress.is_stepping(status, "its successor")
    assert not progress.is_stepping(JobStatus(progress=BEFORE.model_copy(update={"pod_uid": ""})), "")
    assert not progress.is_stepping(JobStatus(progress=BEFORE.model_copy(update={"last_step_time": None})), "pod-0-0")
    assert not progress.is_stepping(JobStatus(), "pod-0-0")


RESUME = ("resume at step 10: 1 key differs", "model.optim.lr: 0.1 -> 0.01: the rate is the file's curve at this step")


def test_how_a_start_has_resumed_is_in_the_status_until_another_resumes() -> None:
    status = update(JobStatus(), HOST._with(resume=RESUME))
    assert status.resume == RESUME
    assert update(status, HOST).resume == RESUME, "a pod that has not begun says nothing of it"
    same = ("resume at step 20: the configuration is the one that the checkpoint was written with.",)
    assert update(status, HOST._with(resume=same)).resume == same


def test_a_long_text_of_a_resume_is_cut_to_what_the_status_takes() -> None:
    """A trainer of another release may say more."""
    status = update(JobStatus(), HOST._with(resume=("x" * 5000,) * 500))
    assert JobStatus.model_validate(status.model_dump()) == status


def test_changes_on_a_resume_are_announced_once() -> None:
    before, after = JobStatus(), JobStatus(resume=RESUME)
    (event,) = announcements(before, after)
    assert (event.kind, event.reason, event.note) == ("Normal", "ResumedWithChanges", "\n".join(RESUME))
    later = JobStatus(resume=("resume at step 15: 1 key differs", *RESUME[1:]))
    assert announcements(after, later) == (), "the next restart differs by the same keys"
    assert announcements(before, JobStatus(resume=("resume at step 10: the configuration is the one …",))) == ()
