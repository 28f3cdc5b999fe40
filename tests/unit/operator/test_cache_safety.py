"""Which plans may rest on what the operator remembers."""

import dataclasses

from builders import NOW, OPTIONS, make_pod, observed, running_gang, with_status
from neuron_api.resource.job import NeuronTrainingJob
from neuron_operator.planning.cache_safety import requires_live_read
from neuron_operator.planning.observation.observation import Child, Observed
from neuron_operator.planning.planner import plan

from .passes import JOB, PODS, known, started


def safe(seen: Observed, job: NeuronTrainingJob) -> bool:
    assert seen.job is job
    return not requires_live_read(plan(seen, OPTIONS, NOW), seen)


def test_the_first_pods_of_a_job_are_created_from_memory() -> None:
    job = started(JOB)
    seen = observed(job)
    assert plan(seen, OPTIONS, NOW).creates
    assert safe(seen, job)


def test_a_gang_that_is_whole_needs_no_look() -> None:
    job = known(JOB, *PODS)
    assert safe(observed(job, PODS), job)


def test_a_pod_that_is_not_there_is_looked_for_before_it_counts_as_lost() -> None:
    job = known(JOB, *PODS)
    assert not safe(observed(job, PODS[:1]), job)


def test_a_successor_needs_no_look_once_its_predecessors_loss_is_written_down() -> None:
    """Its name is the predecessor's: where that is still there, it is refused."""
    job = known(JOB, *PODS)
    lost = plan(observed(job, PODS[:1]), OPTIONS, NOW).draft
    after = with_status(job, restarts=lost.restarts, pods=lost.pods)
    seen = observed(after, PODS[:1])
    assert plan(seen, OPTIONS, NOW).creates
    assert safe(seen, after)


def test_a_pod_that_has_ended_is_told_deleted_and_replaced_without_a_look() -> None:
    job = known(started(JOB), *running_gang(JOB))
    pods = (make_pod(job, 0).running(), make_pod(job, 1).turned_away("Evicted"))
    seen = observed(job, pods)
    telling = plan(seen, OPTIONS, NOW)
    assert telling.draft.restarts
    assert not requires_live_read(telling, seen)
    told = observed(with_status(job, **dict(telling.draft)), pods)
    deleting = plan(told, OPTIONS, NOW)
    assert deleting.deletes
    assert not requires_live_read(deleting, told)
    gone = observed(told.job, pods[:1])
    creating = plan(gone, OPTIONS, NOW)
    assert creating.creates
    assert not requires_live_read(creating, gone)
    fenced = dataclasses.replace(deleting, deletes=tuple(dataclasses.replace(x, force=True) for x in deleting.deletes))
    assert requires_live_read(fenced, told), "a node that is said to be gone is looked at"


def test_a_pod_that_runs_as_far_as_is_known_is_deleted_only_after_a_look() -> None:
    job = known(started(JOB), *running_gang(JOB))
    pods = (make_pod(job, 0).running(), make_pod(job, 1).turned_away("Evicted"))
    told = observed(with_status(job, **dict(plan(observed(job, pods), OPTIONS, NOW).draft)), pods)
    deleting = plan(told, OPTIONS, NOW)
    running = dataclasses.replace(told, pods=tuple(dataclasses.replace(pod, failed=False) for pod in told.pods))
    assert requires_live_read(deleting, running)


def test_a_gang_begins_again_only_after_a_look() -> None:
    job = known(started(JOB), *running_gang(JOB))
    seen = observed(job, (make_pod(job, 0).running(), make_pod(job, 1).failed(1)))
    assert plan(seen, OPTIONS, NOW).draft.attempt == 1
    assert not safe(seen, job)


def test_pods_of_another_attempt_are_created_only_after_a_look() -> None:
    job = with_status(known(started(JOB), *running_gang(JOB)), attempt=1, pods=())
    seen = observed(job)
    assert plan(seen, OPTIONS, NOW).creates
    assert not safe(seen, job)


def test_pods_are_deleted_only_after_a_look() -> None:
    job = with_status(known(JOB, *PODS), attempt=1, pods=())
    seen = observed(job, PODS)
    assert plan(seen, OPTIONS, NOW).deletes
    assert not safe(seen, job)


def test_a_name_is_taken_only_after_a_look() -> None:
    """A job that is made again under its old name: memory still has the Service of its predecessor."""
    job = started(JOB)
    seen = observed(job, service=Child("earlier", {"metadata": {}}))
    assert plan(seen, OPTIONS, NOW).creates == ()
    assert not safe(seen, job)
