"""The checkpoint gate: steps were finished, no checkpoint is found, and the job stands still until somebody helps."""

import pytest

from builders import JobBuilder, PodBuilder, at, make_pod, make_report, observed
from neuron_api import contract
from neuron_api.contract import ExitCode
from neuron_api.resource.reasons import ConditionType, Reason
from neuron_api.resource.spec import FromScratch
from neuron_api.resource.status import CheckpointStatus, JobStatus, Phase, RestartScope
from neuron_operator.planning.plan import Plan
from neuron_operator.planning.restarts import checkpoint_gate
from neuron_operator.planning.status.changes import announcements

from .passes import JOB, PODS, TWO, known, names, one_pass, reparsed, true

SAID = "40 steps were finished and there is no complete checkpoint in /training/x: the job would begin again at step 0."


def trained(step: int = 40, saved: int = 0) -> JobStatus:
    report = make_report(PODS[0].build(), JOB).step(step)
    return one_pass(observed(known(JOB, *PODS), PODS, [report.checkpoint(saved) if saved else report]))[1]


def look(status: JobStatus, *pods: PodBuilder, job: JobBuilder = TWO, seconds: float = 1) -> tuple[Plan, JobStatus]:
    return one_pass(observed(reparsed(job, status), pods), seconds)


def held() -> JobStatus:
    return look(trained(), PODS[0], PODS[1].failed(ExitCode.NO_CHECKPOINT, SAID))[1]


def env(job: JobBuilder, status: JobStatus) -> dict[str, str]:
    """Of a pod that a pass creates."""
    _, lost = look(status, PODS[0], job=job)
    planned, _ = look(lost, PODS[0], job=job, seconds=90)
    (pod,) = planned.creates
    return {one["name"]: one.get("value", "") for one in pod.body["spec"]["containers"][0]["env"]}


def test_a_launcher_that_finds_no_checkpoint_holds_the_job_and_costs_no_budget() -> None:
    before = trained()
    planned, status = look(before, PODS[0], PODS[1].failed(ExitCode.NO_CHECKPOINT, SAID))
    assert planned.deletes == (), "decided, not done"
    assert status.phase is Phase.PENDING
    assert true(status)[ConditionType.STALLED] is Reason.NO_CHECKPOINT_FOUND
    message = next(c.message for c in status.conditions if c.type is ConditionType.STALLED)
    assert message.startswith(f"Pod tiny-0-1: {SAID} Restore a checkpoint")
    (line,) = status.restarts
    assert (line.restart_scope, line.cause, line.pod, line.step) == (
        RestartScope.GANG,
        Reason.NO_CHECKPOINT_FOUND,
        "tiny-0-1",
        40,
    )
    assert (status.attempt, status.gang_failures) == (0, 0)
    told = [one.reason for one in announcements(before, status)]
    assert told == [Reason.NO_CHECKPOINT_FOUND, Reason.NO_CHECKPOINT_FOUND], "a line of the ledger, and Stalled"


def test_its_pods_go_and_nothing_comes_in_their_place() -> None:
    ended = PODS[1].failed(ExitCode.NO_CHECKPOINT, SAID)
    planned, status = look(held(), PODS[0], ended)
    assert names(planned) == ["tiny-0-0"], "the one that has ended stays for its log"
    planned, status = look(status, ended, seconds=60)
    assert (planned.deletes, planned.creates, planned.requeue_after) == ((), (), None)
    _, again = look(status, ended, seconds=9999)
    assert again == status, "it stands still"


def test_it_wins_over_other_pods_that_fail_with_it_and_not_over_a_refused_configuration() -> None:
    _, status = look(trained(), PODS[0].failed(1, "lost"), PODS[1].failed(ExitCode.NO_CHECKPOINT, SAID))
    assert status.checkpoint_gate is not None
    _, status = look(trained(), PODS[0].failed(ExitCode.CONFIG), PODS[1].failed(ExitCode.NO_CHECKPOINT, SAID))
    assert status.phase is Phase.FAILED


def test_the_spec_may_let_it_begin_again() -> None:
    allowed = TWO.restart_policy(fromScratch="Always")
    planned, status = look(held(), PODS[0], job=allowed)
    assert (status.checkpoint_gate, status.attempt, status.pods) == (None, 1, ())
    assert (planned.creates, planned.requeue_after) == ((), 0.0)
    planned, _ = look(status, job=allowed, seconds=90)
    assert [one.name for one in planned.creates] == ["tiny-1-0", "tiny-1-1"]


def test_a_suspension_that_is_taken_back_looks_again() -> None:
    status = held()
    for seconds in (1, 2, 3):
        _, status = look(status, job=TWO.spec(suspend=True), seconds=seconds)
    assert status.phase is Phase.SUSPENDED
    _, status = look(status, seconds=60)
    assert (status.checkpoint_gate, status.attempt) == (None, 1)


@pytest.mark.parametrize(
    ("policy", "step", "saved", "may"),
    [
        (FromScratch.NEVER, 0, False, True),
        (FromScratch.NEVER, 7, False, False),
        (FromScratch.NEVER, 7, True, False),
        (FromScratch.BEFORE_FIRST_CHECKPOINT, 7, False, True),
        (FromScratch.BEFORE_FIRST_CHECKPOINT, 17, True, False),
        (FromScratch.ALWAYS, 17, True, True),
    ],
)
def test_what_the_field_allows(policy: FromScratch, step: int, saved: bool, may: bool) -> None:
    assert policy.allows(finished_steps=step, has_checkpoint=saved) is may


def test_a_pod_is_told_what_was_seen() -> None:
    found = env(TWO, trained(40, saved=30))
    assert (found[contract.ENV_SEEN_STEP], found[contract.ENV_SEEN_CHECKPOINT]) == ("40", "30")
    assert found[contract.ENV_FROM_SCRATCH] == "Never"
    assert contract.ENV_SEEN_CHECKPOINT not in env(TWO, trained(40))


def test_steps_that_are_done_again_are_not_forgotten() -> None:
    status = trained(40, saved=30)
    back = make_report(PODS[0].build(), JOB).round(1).step(31, at(60))
    _, status = one_pass(observed(reparsed(TWO, status), PODS, [back]), 60)
    assert status.progress is not None
    assert (status.progress.step, status.progress.furthest_step, checkpoint_gate.seen_step(status)) == (31, 40, 40)


def test_a_job_that_may_not_resume_begins_again_where_the_spec_says_so() -> None:
    job = TWO.cannot_resume().restart_policy(fromScratch="Always")
    first = known(job.build(), *PODS)
    _, status = one_pass(observed(first, PODS, [make_report(PODS[0].build(), first).step(40)]))
    _, status = look(status, PODS[0], PODS[1].failed(1), job=job)
    assert (status.phase, status.attempt) == (Phase.RESTARTING, 1)


def test_an_older_checkpoint_that_was_taken_up_is_told_with_what_it_cost() -> None:
    _, lost = look(trained(40, saved=40), PODS[0], seconds=10)
    wrong = "/training/step=40.ckpt/a is corrupt"
    one = make_report(PODS[0].build(), JOB).round(1).recovery(1, 30, 10, at(50)).step(31, at(50)).checkpoint(30)
    recovery = one.progress.recoveries[0].model_copy(update={"passed_over": wrong})
    report = one._with(recoveries=(recovery,))
    pods = [PODS[0], make_pod(JOB, 1).uid("new").on("node-2").ready()]
    _, status = one_pass(observed(reparsed(TWO, lost), pods, [report]), 60)
    (line,) = status.restarts
    assert (line.resumed_from_step, line.steps_lost, line.skipped_checkpoints) == (30, 10, wrong)
    events = [(one.kind, one.reason, one.note) for one in announcements(lost, status)]
    assert ("Warning", "CheckpointSkipped", f"Training resumed from an older checkpoint, of step 30: {wrong}") in events


def test_the_status_says_whether_the_checkpoint_was_verified() -> None:
    report = make_report(PODS[0].build(), JOB).step(41).checkpoint(40)
    found = report.progress.checkpoint
    assert found is not None
    verified = report._with(checkpoint=found.model_copy(update={"verified": True}))
    _, status = one_pass(observed(known(JOB, *PODS), PODS, [verified]))
    assert status.checkpoint == CheckpointStatus(step=40, path=found.path, time=found.time, verified=True)
