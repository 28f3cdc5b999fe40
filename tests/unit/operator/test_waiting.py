"""Why the pods of a job are not all up: one reason, one sentence, its remedy."""

import pytest

from builders import PodBuilder, make_job, make_pod
from neuron_api.resource.reasons import Reason
from neuron_operator.planning.observation import waiting
from neuron_operator.planning.observation.waiting import Rejection, Wait

JOB = make_job().nodes(3).build()
PODS = [make_pod(JOB, index) for index in range(3)]
PULL = PODS[1].waiting("ImagePullBackOff", "Back-off pulling image.", "registry/none:1")
BROKEN = PODS[0].waiting("CreateContainerError", "no such device")
UNPLACED = PODS[2].unschedulable("0/3 nodes are available.")


def for_pods(*pods: PodBuilder) -> Wait:
    found = waiting.for_pods(JOB, [pod.build() for pod in pods])
    assert found is not None
    return found


@pytest.mark.parametrize("pod", [PODS[0], PODS[0].on("n"), PODS[0].running(), PODS[0].ready(), PODS[0].succeeded()])
def test_pods_on_their_way_are_nothing_to_tell(pod: PodBuilder) -> None:
    assert waiting.for_pods(JOB, [pod.build()]) is None


@pytest.mark.parametrize("pod", [PULL.terminating(), UNPLACED.terminating(), UNPLACED.turned_away("Evicted")])
def test_pods_that_go_are_not_waited_for(pod: PodBuilder) -> None:
    assert waiting.for_pods(JOB, [pod.build()]) is None


@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"])
def test_an_image_that_cannot_be_pulled_is_named(reason: str) -> None:
    wait = for_pods(PODS[0].waiting(reason, "manifest unknown.", "registry/none:1"))
    assert (wait.reason, wait.stalled) == (Reason.IMAGE_PULL_FAILED, True)
    assert "registry/none:1 cannot be pulled for pod tiny-0-0" in wait.message
    assert "The kubelet says: manifest unknown. Fix" in wait.message
    assert ".." not in wait.message


def test_the_worst_is_told_first() -> None:
    assert for_pods(UNPLACED, BROKEN, PULL).reason is Reason.IMAGE_PULL_FAILED
    assert for_pods(UNPLACED, BROKEN).reason is Reason.CONTAINER_NOT_STARTING
    assert for_pods(UNPLACED).reason is Reason.PODS_PENDING


def test_a_container_without_a_word_of_the_kubelet_still_has_a_sentence() -> None:
    assert "the kubelet gives no message" in for_pods(PODS[0].waiting("CreateContainerError")).message


def test_pods_without_a_node_are_counted_and_the_scheduler_is_quoted() -> None:
    wait = for_pods(UNPLACED, PODS[0].unschedulable("0/3 nodes are available."), PODS[1].ready())
    assert (wait.reason, wait.stalled) == (Reason.PODS_PENDING, False)
    assert wait.message.startswith("2 of the pods have no node.")
    assert "0/3 nodes are available. Add nodes" in wait.message


def test_each_missing_claim_is_named_by_its_key() -> None:
    mounts = [{"claimName": name, "mountPath": f"/{name}"} for name in ("a", "b", "c")]
    wait = waiting.for_claims(make_job().storage(*mounts).build(), ("a", "c"))
    assert wait is not None
    assert (wait.reason, wait.stalled) == (Reason.CLAIM_NOT_FOUND, True)
    assert "spec.storage[0].claimName: there is no PersistentVolumeClaim a in namespace team." in wait.message
    assert "spec.storage[2].claimName" in wait.message
    assert "spec.storage[1]" not in wait.message
    assert waiting.for_claims(JOB, ()) is None


def test_what_is_left_of_an_earlier_job_is_named_but_not_all() -> None:
    wait = waiting.for_earlier_job(JOB, [f"tiny-0-{n}" for n in range(5)])
    assert wait is not None
    assert (wait.reason, wait.stalled) == (Reason.NAME_TAKEN, False)
    assert "(tiny-0-0, tiny-0-1, tiny-0-2 …)" in wait.message
    assert waiting.for_earlier_job(JOB, []) is None


def test_a_refusal_of_the_api_server_is_quoted() -> None:
    wait = waiting.for_rejection([Rejection("Pod tiny-0-0", "exceeded quota"), Rejection("Pod tiny-0-1", "other")])
    assert wait is not None
    assert (wait.reason, wait.stalled) == (Reason.POD_REJECTED, True)
    assert "refused Pod tiny-0-0: exceeded quota" in wait.message
    assert "other" not in wait.message
    assert waiting.for_rejection([]) is None


def test_a_name_that_is_taken_has_its_own_remedy() -> None:
    taken = Rejection("Service tiny", "Service tiny exists and does not belong to this job.", taken=True)
    wait = waiting.for_rejection([taken])
    assert wait is not None
    assert (wait.reason, wait.stalled) == (Reason.NAME_TAKEN, True)
    assert wait.message.endswith("Delete it, or give the job another name.")
