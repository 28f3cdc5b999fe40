"""Which plans may rest on what the operator remembers."""

from builders import NOW, OPTIONS, observed, with_status
from neuron_api.job import NeuronTrainingJob
from neuron_operator.planning.certainty import safe_from_memory
from neuron_operator.planning.observation import Child, Observed
from neuron_operator.planning.planner import plan

from .passes import JOB, PODS, known, started


def safe(seen: Observed, job: NeuronTrainingJob) -> bool:
    return safe_from_memory(plan(seen, OPTIONS, NOW), job)


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


def test_a_successor_is_created_only_after_a_look() -> None:
    job = known(JOB, *PODS)
    lost = plan(observed(job, PODS[:1]), OPTIONS, NOW).draft
    after = with_status(job, restarts=lost.restarts, pods=lost.pods)
    seen = observed(after, PODS[:1])
    assert plan(seen, OPTIONS, NOW).creates
    assert not safe(seen, after)


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
