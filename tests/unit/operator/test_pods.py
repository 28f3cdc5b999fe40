"""From the API server's JSON of a pod to what the planner knows of it."""

import pytest

from builders import NOW, children, make_job, make_pod
from neuron_api import contract
from neuron_operator.planning.observation import pods

JOB = make_job().nodes(2).build()
POD = make_pod(JOB, 1, attempt=3)


def test_a_pod_without_a_status_is_pending() -> None:
    body = {key: value for key, value in POD.body.items() if key in ("metadata",)}
    pod = pods.read(body)
    assert pod is not None
    assert (pod.name, pod.uid, pod.index, pod.attempt) == ("tiny-3-1", "pod-3-1", 1, 3)
    assert not (pod.ready or pod.running or pod.occupied or pod.terminating or pod.over)
    assert pod.exit_code is None
    assert pod.node == pod.address == ""


def test_a_running_pod_is_not_ready_until_it_says_so() -> None:
    assert POD.running().build().running
    assert not POD.running().build().ready
    up = POD.on("node-7").ready().build()
    assert (up.running, up.ready, up.node, up.address, up.over) == (True, True, "node-7", "10.0.0.1", False)


def test_a_failed_pod_has_code_time_and_message() -> None:
    pod = POD.failed(1, "ValueError: bad").build()
    assert (pod.failed, pod.succeeded, pod.exit_code, pod.finished_at) == (True, False, 1, NOW)
    assert pod.termination_message == "ValueError: bad"


def test_the_trainers_exit_code_counts_whatever_other_containers_do() -> None:
    done = POD.exited(0).build()
    assert (done.succeeded, done.failed, done.over, done.running, done.occupied) == (True, False, True, False, True)
    failed = POD.exited(1).build()
    assert (failed.succeeded, failed.failed, failed.occupied) == (False, True, True)


def test_a_pod_whose_sidecar_failed_after_training_has_ended_has_succeeded() -> None:
    body = POD.succeeded()._with("status", phase="Failed").body
    pod = pods.read(body)
    assert pod is not None
    assert (pod.succeeded, pod.failed) == (True, False)


def test_a_pod_that_failed_before_its_container_has_no_exit_code() -> None:
    pod = POD.turned_away("Evicted", "The node was low on resource: memory.").build()
    assert (pod.failed, pod.exit_code, pod.pod_reason) == (True, None, "Evicted")
    assert pod.pod_message == "The node was low on resource: memory."


def test_the_exit_code_of_an_init_container_is_not_the_launchers() -> None:
    pod = POD.init_failed(2, "no such bucket").build()
    assert (pod.failed, pod.exit_code) == (True, None)
    assert pod.termination_message == "container fetch ended with exit code 2: no such bucket"


def test_disruption_is_the_reason_of_the_condition() -> None:
    assert POD.ready().disrupted("PreemptionByScheduler").build().disruption == "PreemptionByScheduler"
    assert POD.ready().build().disruption == ""
    assert POD.ready()._condition("DisruptionTarget", "False", "x").build().disruption == ""
    assert POD.ready()._condition("DisruptionTarget", "True").build().disruption == "DisruptionTarget"


def test_unschedulable_is_what_the_scheduler_says() -> None:
    assert POD.unschedulable("0/3 nodes are available.").build().unschedulable == "0/3 nodes are available."
    assert POD.on("node-1").build().unschedulable == ""
    gated = POD._condition("PodScheduled", "False", "SchedulingGated", "gated").build()
    assert gated.unschedulable == ""


@pytest.mark.parametrize("usual", ["ContainerCreating", "PodInitializing"])
def test_waiting_for_its_turn_is_nothing_to_tell(usual: str) -> None:
    assert POD.waiting(usual).build().waiting_reason == ""


def test_a_container_that_cannot_start_is_told_with_its_image() -> None:
    pod = POD.waiting("ErrImagePull", "not found", image="registry/none:1").build()
    assert (pod.waiting_reason, pod.waiting_message, pod.image) == ("ErrImagePull", "not found", "registry/none:1")


@pytest.mark.parametrize("label", [contract.LABEL_ATTEMPT, contract.LABEL_NODE_RANK])
@pytest.mark.parametrize("value", ["", "one", "-1", "1.5", "²"])
def test_a_pod_whose_labels_were_tampered_with_has_no_place(label: str, value: str) -> None:
    assert pods.read(POD.labels(**{label: value}).body) is None
    body = POD.body
    labels = {key: text for key, text in body["metadata"]["labels"].items() if key != label}
    assert pods.read({**body, "metadata": {**body["metadata"], "labels": labels}}) is None


def test_the_owner_is_the_controlling_one() -> None:
    other = {"kind": "X", "uid": "other"}
    body = {"metadata": {"ownerReferences": [other, {"kind": "Y", "uid": "mine", "controller": True}]}}
    assert pods.owner_uid(body) == "mine"
    assert pods.owner_uid({"metadata": {"ownerReferences": [other]}}) == ""
    assert pods.owner_uid({"metadata": {}}) == ""
    assert pods.owner_uid(POD.body) == JOB.metadata.uid


def test_a_child_carries_its_owner() -> None:
    assert children(JOB).service.owner_uid == JOB.metadata.uid
    assert pods.child(None) is None
