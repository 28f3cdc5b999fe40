"""What the next plan of a pass starts from: as if the API server had been asked again."""

import dataclasses

import pytest

from builders import NOW, OPTIONS, make_pod, make_report, observed, running_gang
from neuron_api.resource.job import NeuronTrainingJob
from neuron_operator.planning import outcome
from neuron_operator.planning.observation.observation import Observed
from neuron_operator.planning.plan import Plan
from neuron_operator.planning.planner import plan

from .passes import JOB, known, names, one_pass, started


def failed_pod_told() -> tuple[Observed, Plan]:
    """Pod 1 was evicted, and its loss is written down: it is to be deleted."""
    job = known(started(JOB), *running_gang(JOB))
    pods = (make_pod(job, 0).running(), make_pod(job, 1).turned_away("Evicted"))
    decided = plan(observed(job, pods), OPTIONS, NOW)
    seen = observed(written(job, decided), pods)
    return seen, plan(seen, OPTIONS, NOW)


def written(job: NeuronTrainingJob, planned: Plan) -> NeuronTrainingJob:
    return job.model_copy(update={"status": planned.draft})


def test_a_decision_leaves_everything_but_the_job_as_it_was() -> None:
    job = known(started(JOB), *running_gang(JOB))
    seen = observed(job, (make_pod(job, 0).running(), make_pod(job, 1).turned_away("Evicted")))
    decided = plan(seen, OPTIONS, NOW)
    now = written(job, decided)
    assert outcome.project(seen, decided, now) == dataclasses.replace(seen, job=now)


def test_a_plan_that_only_waits_is_followed_by_none() -> None:
    job = known(started(JOB), *running_gang(JOB))
    seen = observed(job, running_gang(JOB))
    assert outcome.project(seen, plan(seen, OPTIONS, NOW), job) is None


def test_a_failed_pod_is_gone_with_its_deletion_and_its_successor_is_next() -> None:
    seen, deleting = failed_pod_told()
    assert names(deleting) == ["tiny-0-1"]
    after = outcome.project(seen, deleting, seen.job)
    assert after is not None
    assert [pod.name for pod in after.pods] == ["tiny-0-0"]
    assert [create.name for create in plan(after, OPTIONS, NOW).creates] == ["tiny-0-1"]


@pytest.mark.parametrize(
    "state", [{"occupied": True}, {"terminating": True}, {"finalizers": ("kueue.x-k8s.io/managed",)}, {"failed": False}]
)
def test_a_pod_that_something_keeps_is_not_gone(state: dict[str, object]) -> None:
    seen, deleting = failed_pod_told()
    kept = tuple(dataclasses.replace(pod, **state) if pod.index else pod for pod in seen.pods)
    assert outcome.project(dataclasses.replace(seen, pods=kept), deleting, seen.job) is None


def test_what_came_of_a_creation_is_looked_up() -> None:
    seen = observed(started(JOB), ())
    creating, _ = one_pass(seen)
    assert creating.creates
    assert outcome.project(seen, creating, seen.job) is None


def test_a_start_that_is_written_down_is_followed_by_the_pods() -> None:
    seen = observed(JOB, ())
    starting, status = one_pass(seen)
    assert not starting.creates
    after = outcome.project(seen, starting, JOB.model_copy(update={"status": status}))
    assert after is not None
    assert len(plan(after, OPTIONS, NOW).creates) == 2


def test_a_decision_about_a_node_that_nobody_has_looked_at_needs_another_look() -> None:
    """A process failed in a pod that is well: its node's hardware is asked for only now."""
    job = known(started(JOB), *running_gang(JOB))
    pods = running_gang(JOB)
    seen = observed(job, pods, [make_report(pods[0].build(), job).round(1).failure(0, 1)])
    decided = plan(seen, OPTIONS, NOW)
    now = written(job, decided)
    assert now.status.restarts
    assert outcome.project(seen, dataclasses.replace(decided, requeue_after=0.0), now) is None
