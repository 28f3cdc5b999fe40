"""The cases of a pass: what is seen, what is to be done, what the status says afterwards."""

import pytest

from builders import (
    NOW,
    OPTIONS,
    PodBuilder,
    at,
    children,
    make_report,
    observed,
    running_gang,
    with_status,
)
from neuron_api import contract
from neuron_api.contract import LABEL_ATTEMPT
from neuron_api.resource.reasons import ConditionType, Reason
from neuron_api.resource.status import JobStatus, Phase
from neuron_operator.planning.observation.observation import Child, ConfigText, Observed
from neuron_operator.planning.observation.waiting import Rejection
from neuron_operator.planning.outcome import finalize_status
from neuron_operator.planning.plan import PlanOutcome
from neuron_operator.planning.planner import plan

from .passes import FOREIGN, JOB, PODS, TWO, known, names, one_pass, reparsed, started, true

# ---- beginning ---------------------------------------------------------------------------------------------------


def test_the_start_is_written_down_before_anything_is_made_under_it() -> None:
    planned, status = one_pass(observed(JOB, service=None, config_map=None))
    assert (planned.applies, planned.creates, planned.requeue_after) == ((), (), 0.0)
    assert (status.start_time, status.phase, status.pods) == (NOW, Phase.STARTING, ())


def test_a_started_job_gets_its_children_and_its_pods_in_one_pass() -> None:
    planned, status = one_pass(observed(started(JOB), service=None, config_map=None))
    assert [body["kind"] for body in planned.applies] == ["ConfigMap", "Service"]
    assert [create.name for create in planned.creates] == ["tiny-0-0", "tiny-0-1"]
    assert planned.deletes == ()
    assert status.phase is Phase.STARTING
    assert true(status) == {
        ConditionType.RECONCILING: Reason.PODS_CREATED,
        ConditionType.CONFIG_VALID: Reason.CONFIG_ACCEPTED,
    }
    assert [record.uid for record in status.pods] == ["new-tiny-0-0", "new-tiny-0-1"]
    assert (status.ready_nodes, status.start_time, status.observed_generation) == (0, NOW, 1)


def test_the_same_input_gives_the_same_plan() -> None:
    seen = observed(JOB)
    assert plan(seen, OPTIONS, NOW) == plan(seen, OPTIONS, NOW)


def test_a_pass_over_what_it_has_written_has_nothing_to_do() -> None:
    pods = [pod.uid(f"new-tiny-0-{n}") for n, pod in enumerate(PODS)]
    _, first = one_pass(observed(JOB))
    _, second = one_pass(observed(reparsed(TWO, first), pods), 5)
    planned, third = one_pass(observed(reparsed(TWO, second), pods), 10)
    assert (planned.deletes, planned.applies, planned.creates) == ((), (), ())
    assert third == second
    assert third.ready_nodes == 2


def test_pods_created_by_a_pass_that_was_killed_are_taken_over() -> None:
    planned, status = one_pass(observed(started(JOB), PODS[:1]))
    assert [create.index for create in planned.creates] == [1]
    assert status.restart_count == 0
    assert [record.uid for record in status.pods] == ["pod-0-0", "new-tiny-0-1"]


def test_after_a_creation_the_operator_looks_again_even_if_no_event_comes() -> None:
    planned = plan(observed(JOB), OPTIONS, NOW)
    assert planned.requeue_after is not None
    refused = finalize_status(planned, PlanOutcome(rejections=(Rejection("Pod tiny-0-0", "exceeded quota"),)), NOW)
    assert true(refused)[ConditionType.STALLED] is Reason.POD_REJECTED


def test_a_running_job_is_looked_at_every_few_seconds() -> None:
    assert plan(observed(JOB, PODS), OPTIONS, NOW).requeue_after == OPTIONS.poll_seconds


def test_a_deleted_child_is_made_again_while_the_job_runs() -> None:
    planned, _ = one_pass(observed(known(JOB, *PODS), PODS, service=None))
    assert [body["kind"] for body in planned.applies] == ["Service"]


# ---- what belongs to others ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["service", "config_map"])
@pytest.mark.parametrize("pods", [[], PODS])
def test_an_object_of_somebody_else_is_never_written_to(kind: str, pods: list[PodBuilder]) -> None:
    planned, status = one_pass(observed(JOB, pods, **{kind: Child("", FOREIGN)}))
    assert planned.applies == ()
    assert planned.creates == ()
    assert true(status)[ConditionType.STALLED] is Reason.NAME_TAKEN


@pytest.mark.parametrize("kind", ["service", "config_map"])
def test_what_an_earlier_job_of_this_name_has_left_is_waited_for(kind: str) -> None:
    """Garbage collection removes it; nobody must do anything."""
    owner = {"controller": True, "kind": contract.KIND, "name": JOB.metadata.name, "uid": "earlier"}
    planned, status = one_pass(observed(JOB, **{kind: Child("earlier", {"metadata": {"ownerReferences": [owner]}})}))
    assert planned.applies == planned.creates == ()
    assert planned.requeue_after == OPTIONS.wait_seconds
    assert true(status)[ConditionType.RECONCILING] is Reason.NAME_TAKEN
    assert "earlier job" in next(one.message for one in status.conditions if one.type is ConditionType.RECONCILING)


def test_pods_of_an_earlier_job_of_this_name_are_waited_for() -> None:
    planned, status = one_pass(observed(JOB, foreign_pods=("tiny-4-0",)))
    assert planned.creates == planned.deletes == ()
    assert planned.requeue_after == OPTIONS.wait_seconds
    assert true(status)[ConditionType.RECONCILING] is Reason.NAME_TAKEN
    assert status.phase is Phase.PENDING


@pytest.mark.parametrize("trouble", [{"missing_claims": ("training",)}, {"foreign_pods": ("tiny-4-0",)}])
def test_what_only_a_new_pod_needs_is_no_trouble_of_a_job_that_trains(trouble: dict[str, object]) -> None:
    report = make_report(PODS[0].build(), JOB).step(3)
    _, status = one_pass(observed(known(JOB, *PODS), PODS, [report], **trouble))
    assert status.phase is Phase.RUNNING


def test_the_copy_of_the_configuration_is_not_written_again_when_the_operator_would_write_it_otherwise() -> None:
    own = children(JOB).config_map
    older = Child(own.owner_uid, {**own.body, "data": {"config.yaml": "# as an older operator wrote it\n"}})
    planned, _ = one_pass(observed(known(JOB, *PODS), PODS, config_map=older))
    assert planned.applies == (), "it is immutable: the API server would refuse it for ever"


# ---- attempts ------------------------------------------------------------------------------------------------------


def test_a_new_attempt_is_saved_before_anything_is_done_under_it() -> None:
    job = known(JOB, *PODS)
    planned, status = one_pass(observed(job, [PODS[0], PODS[1].failed(1)]))
    assert status.attempt == 1
    assert (planned.deletes, planned.creates, planned.requeue_after) == ((), (), 0.0)


def test_pods_of_an_older_attempt_go_before_new_ones_come() -> None:
    job = with_status(known(JOB, *PODS), attempt=1, pods=())
    planned, _ = one_pass(observed(job, [PODS[0].failed(1), PODS[1]]))
    assert names(planned) == ["tiny-0-0", "tiny-0-1"]
    assert planned.creates == ()
    planned, _ = one_pass(observed(job, [PODS[0].terminating()]))
    assert (planned.deletes, planned.creates, planned.requeue_after) == ((), (), OPTIONS.wait_seconds)
    planned, _ = one_pass(observed(job))
    assert [create.name for create in planned.creates] == ["tiny-1-0", "tiny-1-1"]


def test_a_status_that_was_lost_is_told_by_the_labels_of_the_pods() -> None:
    pods = running_gang(JOB, attempt=4)
    planned, status = one_pass(observed(JOB, pods))
    assert status.attempt == 4
    assert (planned.deletes, planned.creates, planned.requeue_after) == ((), (), 0.0)
    planned, status = one_pass(observed(reparsed(TWO, status), pods))
    assert (planned.deletes, planned.creates) == ((), ())
    assert status.restart_count == 0
    assert status.ready_nodes == 2


def test_a_restored_status_does_not_bring_an_attempt_back() -> None:
    job = known(JOB, *PODS)
    planned, status = one_pass(observed(job, [*PODS, *running_gang(JOB, attempt=1)]))
    assert status.attempt == 1
    assert planned.creates == planned.deletes == ()
    planned, _ = one_pass(observed(reparsed(TWO, status), [*PODS, *running_gang(JOB, attempt=1)]))
    assert names(planned) == ["tiny-0-0", "tiny-0-1"]


def test_a_finished_job_whose_status_was_lost_is_over_at_once() -> None:
    _, status = one_pass(observed(JOB, [pod.succeeded() for pod in PODS]))
    assert status.phase is Phase.SUCCEEDED


# ---- lost pods -----------------------------------------------------------------------------------------------------


def test_a_lost_pod_is_told_deleted_and_created_in_three_passes() -> None:
    dead = [PODS[0], PODS[1].oom_killed()]
    planned, status = one_pass(observed(known(JOB, *PODS), dead))
    assert status.restarts[0].cause is Reason.OUT_OF_MEMORY
    assert planned.deletes == planned.creates == ()
    job = reparsed(TWO, status)
    planned, status = one_pass(observed(job, dead))
    assert names(planned) == ["tiny-0-1"]
    assert planned.creates == ()
    planned, status = one_pass(observed(reparsed(TWO, status), PODS[:1]))
    assert [create.name for create in planned.creates] == ["tiny-0-1"]
    assert planned.creates[0].body["metadata"]["labels"][LABEL_ATTEMPT] == "0"
    assert status.phase is Phase.RESTARTING
    assert true(status)[ConditionType.RESTARTING] is Reason.OUT_OF_MEMORY


def test_a_terminating_pod_is_told_once_and_waited_for() -> None:
    going = [PODS[0], PODS[1].terminating()]
    _, status = one_pass(observed(known(JOB, *PODS), going))
    assert status.restart_count == 1
    planned, status = one_pass(observed(reparsed(TWO, status), going))
    assert (planned.deletes, planned.creates, status.restart_count) == ((), (), 1)
    assert planned.requeue_after is not None


def test_a_pod_on_a_node_that_is_gone_is_deleted_by_force() -> None:
    going, nodes = [PODS[0], PODS[1].terminating()], frozenset({"node-1"})
    _, status = one_pass(observed(known(JOB, *PODS), going, lost_nodes=nodes))
    assert status.restarts[0].cause is Reason.NODE_LOST
    planned, _ = one_pass(observed(reparsed(TWO, status), going, lost_nodes=nodes))
    assert [(one.name, one.force) for one in planned.deletes] == [("tiny-0-1", True)]


def test_an_operator_that_was_away_finds_a_pod_replaced_by_another() -> None:
    _, status = one_pass(observed(known(JOB, *PODS), [PODS[0], PODS[1].uid("somebody's")]))
    assert [entry.pod_uid for entry in status.restarts] == ["pod-0-1"]
    planned, status = one_pass(observed(reparsed(TWO, status), [PODS[0], PODS[1].uid("somebody's")]))
    assert (planned.creates, planned.deletes, status.restart_count) == ((), (), 1)
    assert status.pods[1].uid == "somebody's"
    assert not status.pods[1].lost


def test_a_third_replacement_without_a_step_waits() -> None:
    job = known(JOB, *PODS)
    for seconds in (0, 1, 2):
        _, status = one_pass(observed(job, PODS[:1]), seconds)
        job = reparsed(TWO, status)
        planned, status = one_pass(observed(job, PODS[:1]), seconds)
        job = reparsed(TWO, status)
    assert planned.creates == ()
    assert planned.requeue_after == OPTIONS.poll_seconds
    planned, status = one_pass(observed(job, PODS[:1]), 12)
    assert [create.index for create in planned.creates] == [1]


# ---- the end -------------------------------------------------------------------------------------------------------


def over(*pods: PodBuilder) -> JobStatus:
    _, status = one_pass(observed(known(JOB, *PODS), pods), 60)
    assert status.finished
    assert status.completion_time == at(60)
    return status


SUCCEEDED = [pod.succeeded() for pod in PODS]


@pytest.mark.parametrize(
    ("last", "later"),
    [
        (SUCCEEDED, SUCCEEDED),
        (SUCCEEDED, []),
        (SUCCEEDED, SUCCEEDED[:1]),
        ([PODS[0], PODS[1].failed(2)], []),
        ([PODS[0], PODS[1].failed(2)], [PODS[0].failed(1), PODS[1].failed(2)]),
    ],
)
def test_a_job_that_is_over_stays_as_it_is_and_is_never_started_again(
    last: list[PodBuilder], later: list[PodBuilder]
) -> None:
    status = over(*last)
    planned, again = one_pass(observed(reparsed(TWO, status), later, config=ConfigText(None)), 999)
    assert again == status
    assert (planned.creates, planned.applies, planned.deletes, planned.requeue_after) == ((), (), (), None)


def test_pods_of_a_failed_job_that_still_run_are_ended_and_the_failed_one_kept_for_its_log() -> None:
    pods = [PODS[0], PODS[1].failed(2)]
    planned, _ = one_pass(observed(reparsed(TWO, over(*pods)), pods))
    assert names(planned) == ["tiny-0-0"]


@pytest.mark.parametrize("code", [0, 2])
def test_a_container_beside_the_trainer_does_not_keep_a_node_after_the_end(code: int) -> None:
    pods = [pod.exited(code) for pod in PODS]
    status = over(*pods)
    planned, again = one_pass(observed(reparsed(TWO, status), pods))
    assert names(planned) == ["tiny-0-0", "tiny-0-1"]
    assert again == status


def test_a_terminal_phase_without_its_condition_is_left_alone() -> None:
    job = with_status(JOB, phase=Phase.FAILED)
    planned, status = one_pass(observed(job, PODS))
    assert names(planned) == ["tiny-0-0", "tiny-0-1"]
    assert planned.creates == ()
    assert status == job.status


def test_pods_that_end_one_after_the_other_are_still_one_running_job() -> None:
    report = make_report(PODS[0].build(), JOB).step(100)
    _, status = one_pass(observed(known(JOB, *PODS), PODS, [report]))
    assert status.phase is Phase.RUNNING
    _, status = one_pass(observed(reparsed(TWO, status), [PODS[0].succeeded(), PODS[1]]))
    assert status.phase is Phase.RUNNING
    _, status = one_pass(observed(reparsed(TWO, status), [PODS[1]]))
    assert status.phase is Phase.RUNNING, "a pod that has succeeded may be removed"
    _, status = one_pass(observed(reparsed(TWO, status), [PODS[1].succeeded()]))
    assert status.phase is Phase.SUCCEEDED
    assert status.restart_count == 0


def test_a_pod_that_succeeded_and_was_deleted_in_one_moment_has_succeeded() -> None:
    _, status = one_pass(observed(known(JOB, *PODS), [PODS[0].succeeded().terminating(), PODS[1].succeeded()]))
    assert status.phase is Phase.SUCCEEDED


def test_a_job_that_is_being_deleted_is_left_to_garbage_collection() -> None:
    job = known(TWO.being_deleted().build(), *PODS)
    planned, status = one_pass(observed(job, [PODS[0]]))
    assert (planned.deletes, planned.creates, planned.applies, planned.requeue_after) == ((), (), (), None)
    assert status == job.status


# ---- a configuration that is refused while the job runs --------------------------------------------------------------

GONE = ConfigText(None, "spec.configFrom.configMapKeyRef.name: there is no ConfigMap c. Create it.")


def test_pods_of_a_refused_job_that_run_are_left_alone_and_not_denied() -> None:
    job = known(JOB, *PODS)
    planned, status = one_pass(observed(job, PODS, config=GONE))
    assert (planned.deletes, planned.creates, planned.applies) == ((), (), ())
    told = {ConditionType.STALLED: Reason.CONFIG_MAP_NOT_FOUND, ConditionType.PODS_READY: Reason.ALL_PODS_READY}
    assert true(status) == told
    assert status.pods == job.status.pods


def test_a_refused_job_whose_pods_have_all_succeeded_has_succeeded() -> None:
    _, status = one_pass(observed(known(JOB, *PODS), SUCCEEDED, config=GONE))
    assert status.phase is Phase.SUCCEEDED
    assert true(status) == {ConditionType.READY: Reason.COMPLETED, ConditionType.SUCCEEDED: Reason.COMPLETED}


def test_a_refused_job_is_looked_at_again_only_where_nothing_announces_the_remedy() -> None:
    assert plan(observed(JOB, config=GONE), OPTIONS, NOW).requeue_after == OPTIONS.wait_seconds
    wrong = TWO.config("data.global_batch_size", 7).build()
    seen = observed(JOB)
    refused = Observed(wrong, seen.config, service=seen.service, config_map=seen.config_map)
    assert plan(refused, OPTIONS, NOW).requeue_after is None
