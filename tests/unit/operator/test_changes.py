"""Which changes of a status are written at once, and which are told as events."""

from dataclasses import replace

from builders import NOW, at
from neuron_api.resource.reasons import ConditionType, Reason
from neuron_api.resource.status import (
    CheckpointStatus,
    JobStatus,
    Phase,
    PodStatus,
    ProgressStatus,
    Restart,
    RestartScope,
)
from neuron_operator.planning.status import conditions
from neuron_operator.planning.status.changes import announcements, is_progress_only_change

RUNNING = JobStatus(phase=Phase.RUNNING, progress=ProgressStatus(step=1, loss=4.0, max_steps=9, pod_uid="u"))
FACTS = conditions.Facts(1, None, nodes=2, existing=2)
LOSS = Restart(restart_scope=RestartScope.POD, cause=Reason.POD_DELETED, time=NOW, pod="a-0-1", pod_uid="u", step=7)


def changed(**progress: object) -> JobStatus:
    assert RUNNING.progress is not None
    return RUNNING.model_copy(update={"progress": RUNNING.progress.model_copy(update=progress)})


def test_step_loss_and_throughput_are_only_numbers() -> None:
    assert is_progress_only_change(RUNNING, changed(step=2, loss=3.5, tokens_per_second=10.0, last_step_time=NOW))
    assert is_progress_only_change(RUNNING, RUNNING)
    assert is_progress_only_change(RUNNING, changed(estimated_completion_time=at(9), total_step_seconds=1.0))
    assert is_progress_only_change(RUNNING, RUNNING.model_copy(update={"goodput": 0.5}))


def test_a_new_round_pod_phase_or_checkpoint_is_more_than_numbers() -> None:
    assert not is_progress_only_change(RUNNING, changed(round=1))
    assert not is_progress_only_change(RUNNING, changed(pod_uid="other"))
    assert not is_progress_only_change(RUNNING, RUNNING.model_copy(update={"phase": Phase.RESTARTING}))
    checkpoint = CheckpointStatus(step=1, path="/c", time=NOW)
    assert not is_progress_only_change(RUNNING, RUNNING.model_copy(update={"checkpoint": checkpoint}))
    assert not is_progress_only_change(JobStatus(), RUNNING)


def test_a_gang_that_comes_up_is_only_a_number_until_something_is_lost() -> None:
    pod = PodStatus(name="a-0-1", uid="u")
    coming = RUNNING.model_copy(update={"ready_nodes": 1, "pods": (pod,)})
    assert is_progress_only_change(RUNNING, coming)
    assert is_progress_only_change(
        coming, coming.model_copy(update={"pods": (pod.model_copy(update={"ready": True}),)})
    )
    assert not is_progress_only_change(
        coming, coming.model_copy(update={"pods": (pod.model_copy(update={"lost": True}),)})
    )
    assert not is_progress_only_change(
        coming, coming.model_copy(update={"pods": (pod.model_copy(update={"succeeded": True}),)})
    )


def test_while_a_job_starts_its_conditions_are_numbers_too_but_for_its_configuration() -> None:
    before = conditions.conditions(FACTS, (), NOW)
    up = conditions.conditions(replace(FACTS, ready=2), before, NOW)
    assert before != up
    starting = JobStatus(phase=Phase.STARTING, conditions=before)
    assert is_progress_only_change(starting, starting.model_copy(update={"conditions": up}))
    assert not is_progress_only_change(
        RUNNING.model_copy(update={"conditions": before}), RUNNING.model_copy(update={"conditions": up})
    )
    valid = [one for one in before if one.type is not ConditionType.CONFIG_VALID]
    assert not is_progress_only_change(starting, starting.model_copy(update={"conditions": tuple(valid)}))


def test_that_pod_0_answers_is_only_a_number_until_there_is_a_step_or_a_second_round() -> None:
    starting = JobStatus(phase=Phase.STARTING)

    def answers(**progress: object) -> JobStatus:
        return starting.model_copy(update={"progress": ProgressStatus.model_validate({"pod_uid": "u", **progress})})

    assert is_progress_only_change(starting, answers(max_steps=9))
    assert not is_progress_only_change(starting, answers(step=1, furthest_step=1))
    assert not is_progress_only_change(starting, answers(last_step_time=NOW))
    assert not is_progress_only_change(starting, answers(round=1))
    assert not is_progress_only_change(answers(round=1), answers(round=1).model_copy(update={"progress": None}))
    running = {"phase": Phase.RUNNING}
    assert not is_progress_only_change(starting.model_copy(update=running), answers().model_copy(update=running))


def test_a_restart_is_told_when_it_happens_and_again_when_it_is_over() -> None:
    lost = RUNNING.model_copy(update={"phase": Phase.RESTARTING, "restarts": (LOSS,)})
    (one,) = announcements(RUNNING, lost)
    assert (one.kind, one.reason, one.action) == ("Warning", "PodDeleted", "Restart")
    assert "a-0-1" in one.note
    closed = LOSS.model_copy(
        update={"recovered_time": at(9), "recovery_seconds": 9.0, "resumed_from_step": 5, "steps_lost": 2}
    )
    back = RUNNING.model_copy(update={"restarts": (closed,)})
    (two,) = announcements(lost, back)
    assert (two.kind, two.reason) == ("Normal", "Recovered")
    assert "from step 5, 2 steps were done again, 9 s after" in two.note


def test_a_restart_whose_line_is_corrected_is_posted_once() -> None:
    """Found in the demo: pods are asked one after the other, so a failure's round may be another at the next look."""
    failed = LOSS.model_copy(update={"restart_scope": RestartScope.PROCESS, "cause": Reason.PROCESS_KILLED, "round": 0})
    before = RUNNING.model_copy(update={"phase": Phase.RESTARTING, "restarts": (failed,)})
    corrected = failed.model_copy(update={"round": 1, "detection_seconds": 2.0})
    assert announcements(before, before.model_copy(update={"restarts": (corrected,)})) == ()
    other = failed.model_copy(update={"pod": "a-0-0", "pod_uid": "w", "rank": 0})
    (one,) = announcements(before, before.model_copy(update={"restarts": (other,)}))
    assert "a-0-0" in one.note, "somebody else is blamed now"


def test_numbers_tell_nothing() -> None:
    assert announcements(RUNNING, changed(step=2)) == ()


def test_the_first_step_is_told_once_and_not_after_a_restart() -> None:
    starting = JobStatus(phase=Phase.STARTING)
    assert [one.reason for one in announcements(starting, RUNNING)] == ["StepsAdvancing"]
    again = RUNNING.model_copy(update={"restarts": (LOSS,)})
    assert announcements(starting.model_copy(update={"restarts": (LOSS,)}), again) == ()
