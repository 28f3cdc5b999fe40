"""After the end: what ttlSecondsAfterFinished deletes, when, and what it leaves alone."""

import pytest

from builders import OPTIONS, JobBuilder, PodBuilder, children, observed
from neuron_api.resource.status import JobStatus, Phase
from neuron_operator.planning.observation.observation import Child
from neuron_operator.planning.plan import Plan

from .passes import FOREIGN, JOB, PODS, TWO, known, one_pass, reparsed

DONE = [pod.succeeded() for pod in PODS]
BRIEF = TWO.spec(ttlSecondsAfterFinished=60)


def ended(pods: list[PodBuilder] = DONE) -> JobStatus:
    """A job whose end is at 0 seconds."""
    _, status = one_pass(observed(known(JOB, *PODS), pods))
    assert status.finished
    return status


def look(job: JobBuilder, seconds: float, pods: list[PodBuilder] = DONE, **values: object) -> tuple[Plan, JobStatus]:
    return one_pass(observed(reparsed(job, ended()), pods, **values), seconds)


def gone(planned: Plan) -> list[str]:
    return [f"{one.kind}/{one.name}" for one in planned.deletes]


def test_nothing_is_deleted_before_its_time_and_the_operator_looks_again_then() -> None:
    planned, status = look(BRIEF, 20)
    assert (gone(planned), planned.requeue_after, status) == ([], 40.0, ended())


def test_the_children_are_deleted_and_the_status_stays() -> None:
    planned, status = look(BRIEF, 60)
    assert gone(planned) == ["Pod/tiny-0-0", "Pod/tiny-0-1", "Service/tiny", "ConfigMap/tiny-config"]
    assert {one.uid for one in planned.deletes} == {"pod-0-0", "pod-0-1", "x"}
    assert (planned.requeue_after, status) == (None, ended())


def test_when_all_is_gone_there_is_nothing_to_do() -> None:
    planned, status = look(BRIEF, 9999, [], service=None, config_map=None)
    assert (gone(planned), planned.creates, planned.applies, planned.requeue_after) == ([], (), (), None)
    assert status == ended()


def test_without_the_field_everything_stays() -> None:
    planned, _ = look(TWO, 99_999)
    assert (gone(planned), planned.requeue_after) == ([], None)


def test_the_time_may_be_set_after_the_end() -> None:
    assert gone(look(TWO.spec(ttlSecondsAfterFinished=0), 1)[0])[-1] == "ConfigMap/tiny-config"


def test_pods_that_still_save_are_told_to_end_and_keep_their_service_meanwhile() -> None:
    saving = [PODS[0], PODS[1].terminating()]
    planned, _ = look(BRIEF, 60, saving)
    assert gone(planned) == ["Pod/tiny-0-0"]
    assert planned.requeue_after == OPTIONS.wait_seconds
    planned, _ = look(BRIEF, 61, [PODS[1].terminating()])
    assert (gone(planned), planned.requeue_after) == ([], OPTIONS.wait_seconds)


def test_the_job_itself_goes_only_where_the_spec_asks_for_it() -> None:
    whole = BRIEF.spec(ttlDeletionPolicy="Job")
    assert gone(look(whole, 59)[0]) == []
    assert gone(look(whole, 60, [PODS[0]])[0]) == ["Pod/tiny-0-0"], "first it saves"
    (one,) = look(whole, 60)[0].deletes
    assert (one.kind, one.name, one.uid) == ("NeuronTrainingJob", "tiny", JOB.metadata.uid)


def test_objects_of_somebody_else_and_those_on_their_way_are_left_alone() -> None:
    own = children(JOB).service
    going = Child(
        own.owner_uid, {"metadata": {"name": "tiny", "uid": "x", "deletionTimestamp": "2026-11-24T12:00:00Z"}}
    )
    assert gone(look(BRIEF, 60, [], service=Child("", FOREIGN), config_map=None)[0]) == []
    assert gone(look(BRIEF, 60, [], service=going, config_map=None)[0]) == []


@pytest.mark.parametrize("pods", [DONE, []])
def test_a_job_is_never_begun_again_after_it(pods: list[PodBuilder]) -> None:
    planned, status = look(BRIEF, 61, pods, service=None, config_map=None)
    assert (planned.creates, planned.applies, status.phase) == ((), (), Phase.SUCCEEDED)
