"""What each scheduler of gangs needs on pods, and of an object of its own; a new attempt is a new gang."""

from typing import Any

import pytest

from builders import NOW, OPTIONS, accepted, observed
from neuron_api import contract
from neuron_api.resource.job import NeuronTrainingJob
from neuron_api.resource.scheduling import GangScheduler
from neuron_operator.planning.objects import children, desired
from neuron_operator.planning.observation.observation import Child, SchedulerState
from neuron_operator.planning.plan import Delete
from neuron_operator.planning.planner import plan
from neuron_operator.planning.scheduling import registry

from .passes import TWO, started

SERVED = SchedulerState(served=True)
ZONE, LAYER = "topology.kubernetes.io/zone", "topology.k8s.aws/network-node-layer-3"


def asked(gang: str, **values: Any) -> NeuronTrainingJob:
    return TWO.spec(scheduling={"gang": gang, **values}).build()


def pod(job: NeuronTrainingJob, attempt: int = 0) -> dict[str, Any]:
    return desired.pod(job, accepted(job), attempt, 1)


def group(job: NeuronTrainingJob, attempt: int = 0, sight: SchedulerState = SERVED) -> tuple[dict[str, Any], ...]:
    return children.group_applies(observed(job, scheduler=sight), attempt, 2, lambda: pod(job, attempt))


def stored(body: dict[str, Any], **metadata: Any) -> Child:
    """As the API server has it."""
    return Child("uid-of-tiny", {**body, "metadata": {**body["metadata"], "uid": "x", **metadata}})


def test_pods_of_a_kueue_group_are_gated_and_carry_queue_group_count_and_one_role() -> None:
    job = asked("Kueue", queueName="team", priorityClassName="high")
    made = pod(job)
    labels, annotations = made["metadata"]["labels"], made["metadata"]["annotations"]
    assert labels["kueue.x-k8s.io/queue-name"] == "team"
    assert labels["kueue.x-k8s.io/pod-group-name"] == "tiny-0"
    assert labels["kueue.x-k8s.io/priority-class"] == "high"
    assert annotations == {"kueue.x-k8s.io/pod-group-total-count": "2", "kueue.x-k8s.io/role-hash": "trainer"}
    assert made["spec"]["schedulingGates"] == [{"name": "kueue.x-k8s.io/admission"}]
    assert "schedulerName" not in made["spec"]
    assert "priorityClassName" not in made["spec"], "the class is one of Kueue's, not of Kubernetes'"
    assert group(job) == (), "Kueue makes the Workload"


@pytest.mark.parametrize("way", ["required", "preferred"])
def test_kueue_is_told_topology_and_rank_by_annotations(way: str) -> None:
    made = pod(asked("Kueue", queueName="team", topology={way: ZONE}))
    annotations = made["metadata"]["annotations"]
    assert annotations[f"kueue.x-k8s.io/podset-{way}-topology"] == ZONE
    assert annotations["kueue.x-k8s.io/pod-group-pod-index-label"] == contract.LABEL_NODE_RANK
    assert "affinity" not in made["spec"]


@pytest.mark.parametrize("gang", ["None", "Volcano", "Coscheduling", "Workload"])
def test_the_others_keep_pods_together_by_affinity_to_pods_of_the_same_job(gang: str) -> None:
    made = pod(asked(gang, topology={"required": ZONE, "preferred": LAYER}, priorityClassName="high"))
    mine = {"matchLabels": {contract.LABEL_JOB_UID: "uid-of-tiny"}}
    assert made["spec"]["priorityClassName"] == "high"
    assert made["spec"]["affinity"]["podAffinity"] == {
        "requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": ZONE, "labelSelector": mine}],
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 100, "podAffinityTerm": {"topologyKey": LAYER, "labelSelector": mine}}
        ],
    }


@pytest.mark.parametrize(
    ("gang", "values", "marks", "kind", "spec"),
    [
        (
            "Volcano", {"queueName": "research", "priorityClassName": "high"},
            {"annotations": {"scheduling.k8s.io/group-name": "tiny-0"}, "schedulerName": "volcano"},
            "scheduling.volcano.sh/v1beta1 PodGroup",
            {"minMember": 2, "queue": "research", "priorityClassName": "high"},
        ),
        (
            "Coscheduling", {"scheduleTimeoutSeconds": 30},
            {"labels": {"scheduling.x-k8s.io/pod-group": "tiny-0"}, "schedulerName": "scheduler-plugins-scheduler"},
            "scheduling.x-k8s.io/v1alpha1 PodGroup",
            {"minMember": 2, "scheduleTimeoutSeconds": 30},
        ),
        (
            "Workload", {"priorityClassName": "high"},
            {"schedulingGroup": {"podGroupName": "tiny-0"}},
            "scheduling.k8s.io/v1beta1 PodGroup",
            {"schedulingPolicy": {"gang": {"minCount": 2}}, "disruptionMode": {"all": {}}, "priorityClassName": "high"},
        ),
    ],
)  # fmt: skip
def test_the_others_have_a_group_that_the_job_owns_and_pods_that_name_it(
    gang: str, values: dict[str, Any], marks: dict[str, Any], kind: str, spec: dict[str, Any]
) -> None:
    job = asked(gang, **values)
    made, (body,) = pod(job), group(job)
    flat = {**made["metadata"], **made["spec"]}
    assert all(desired.covers(flat[key], value) for key, value in marks.items())
    assert f"{body['apiVersion']} {body['kind']}" == kind
    assert body["spec"] == spec
    assert body["metadata"]["name"] == "tiny-0"
    assert body["metadata"]["ownerReferences"] == [desired.owner_reference(job)]
    assert group(job, sight=SchedulerState(True, (stored(body),))) == (), "it is as it should be"


def test_a_scheduler_of_another_name_is_asked_where_the_user_gives_one() -> None:
    names = [pod(asked(gang, schedulerName="mine"))["spec"]["schedulerName"] for gang in ("Volcano", "Coscheduling")]
    names.append(pod(asked("None", schedulerName="mine"))["spec"]["schedulerName"])
    assert names == ["mine"] * 3


def test_volcano_reserves_the_devices_of_the_whole_gang() -> None:
    trainium = TWO.trainium("trn1.32xlarge").config("trainer.devices", 32).config("data.global_batch_size", 64)
    (body,) = group(trainium.spec(scheduling={"gang": "Volcano"}).build())
    assert body["spec"]["minResources"] == {"aws.amazon.com/neuron": "32", "vpc.amazonaws.com/efa": "16"}


@pytest.mark.parametrize("gang", ["Volcano", "Coscheduling", "Workload"])
def test_a_new_attempt_is_a_new_group_and_the_old_one_is_deleted(gang: str) -> None:
    job = asked(gang)
    (old,) = group(job)
    sight = SchedulerState(True, (stored(old),))
    (new,) = group(job, attempt=1, sight=sight)
    assert new["metadata"]["name"] == "tiny-1"
    seen = observed(job, scheduler=sight)
    gone = Delete("tiny-0", "x", kind="PodGroup", api_version=old["apiVersion"])
    assert children.group_deletes(seen, keep=1) == (gone,)
    assert children.group_deletes(seen, keep=0) == ()
    assert children.group_deletes(seen) == (gone,), "a job that is over or stands still holds no place"


def test_a_group_of_another_owner_or_on_its_way_out_is_left_alone() -> None:
    (body,) = group(asked("Volcano"))
    others = (Child("somebody", stored(body).body), stored(body, deletionTimestamp="2026-11-24T12:00:00Z"))
    assert children.group_deletes(observed(asked("Volcano"), scheduler=SchedulerState(True, others))) == ()


def test_the_group_is_applied_before_the_pods_that_need_it() -> None:
    job = started(asked("Coscheduling"))
    planned = plan(observed(job, scheduler=SERVED), OPTIONS, NOW)
    assert [body["kind"] for body in planned.applies] == ["PodGroup"]
    assert [create.name for create in planned.creates] == ["tiny-0-0", "tiny-0-1"]


def test_every_scheduler_of_the_api_has_its_mechanism() -> None:
    assert {*registry.ADAPTERS, GangScheduler.NONE} == set(GangScheduler)
