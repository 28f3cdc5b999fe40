"""Why the pods of a job are not all up: the reason, and a sentence with its remedy."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from neuron_api.resource.job import NeuronTrainingJob
from neuron_api.resource.reasons import Reason

from .observation import OUT_OF_SERVICE, Node, Pod

_IMAGE: Final = (
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "RegistryUnavailable",
    "SignatureValidationFailed",
)


@dataclass(frozen=True, slots=True)
class Rejection:
    """The API server refused an object."""

    name: str
    """Kind and name."""
    message: str
    taken: bool = False
    """Because an object of that name is there, and is not the job's."""


@dataclass(frozen=True, slots=True)
class Wait:
    """What is being waited for."""

    reason: Reason | str
    message: str
    stalled: bool
    """Whether somebody must help."""


def for_claims(job: NeuronTrainingJob, missing: Sequence[str]) -> Wait | None:
    """Claims of spec.storage that are not there."""
    if not missing:
        return None
    places = [
        f"spec.storage[{position}].claimName: there is no PersistentVolumeClaim {mount.claim_name} in namespace "
        f"{job.metadata.namespace}."
        for position, mount in enumerate(job.spec.storage)
        if mount.claim_name in missing
    ]
    return Wait(Reason.CLAIM_NOT_FOUND, f"{' '.join(places)} Create it; the job then continues.", stalled=True)


def for_earlier_job(job: NeuronTrainingJob, names: Sequence[str]) -> Wait | None:
    """Wait for objects of a deleted job of this name: two gangs must not write to one directory."""
    if not names:
        return None
    some = ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
    return Wait(
        Reason.NAME_TAKEN,
        f"Objects of an earlier job called {job.metadata.name} are still there ({some}). "
        "The job starts when they are gone.",
        stalled=False,
    )


def for_rejection(rejections: Iterable[Rejection]) -> Wait | None:
    """The API server refused an object; the first refusal tells it all."""
    first = next(iter(rejections), None)
    if first is None:
        return None
    if first.taken:
        message = f"{first.message} Delete it, or give the job another name."
        return Wait(Reason.NAME_TAKEN, message, stalled=True)
    message = (
        f"The API server refused {first.name}: {first.message} "
        "Fix spec.podTemplate, the quota or the admission policy; the operator tries again by itself."
    )
    return Wait(Reason.POD_REJECTED, message, stalled=True)


def for_nodes(pods: Iterable[Pod], nodes: Mapping[str, Node]) -> Wait | None:
    """A pod on a node that does not answer: it may still write, so nothing takes its place."""
    for pod in pods:
        node = nodes.get(pod.node)
        if pod.over or (pod.ready and not pod.terminating) or node is None or (since := node.silent_since) is None:
            continue
        intro = f"Pod {pod.name} is on node {node.name}, which has not answered since {since:%Y-%m-%d %H:%M:%S} UTC."
        if pod.terminating:
            message = (
                f"{intro} Kubernetes has given the pod up, but nobody knows whether its processes still write: it is "
                "replaced when the node answers or is gone. Once the machine is off, delete the Node, or give it the "
                f"taint {OUT_OF_SERVICE}=nodeshutdown:NoExecute."
            )
        else:
            message = f"{intro} Kubernetes gives the pod up after its toleration, by default five minutes."
        return Wait(Reason.NODE_NOT_READY, message, stalled=pod.terminating)
    return None


def for_pods(job: NeuronTrainingJob, pods: Iterable[Pod]) -> Wait | None:
    """The worst that the kubelet or the scheduler says about pods that are not up."""
    down = [pod for pod in pods if not pod.running and not pod.over and not pod.terminating]
    for pod in down:
        if pod.waiting_reason in _IMAGE:
            return Wait(Reason.IMAGE_PULL_FAILED, _image(job, pod), stalled=True)
    for pod in down:
        if pod.waiting_reason:
            message = (
                f"Pod {pod.name}: {pod.waiting_reason}: {pod.waiting_message or 'the kubelet gives no message.'} "
                "Fix what it names in spec.podTemplate or spec.storage."
            )
            return Wait(Reason.CONTAINER_NOT_STARTING, message, stalled=True)
    unplaced = [pod for pod in down if pod.unschedulable]
    if not unplaced:
        return None
    avoided = ", ".join(
        f"{exclusion.node} until {exclusion.expiration_time:%H:%M} UTC" for exclusion in job.status.excluded_nodes[:3]
    )
    without = f" The pods avoid {avoided} (status.excludedNodes)." if avoided else ""
    message = (
        f"{len(unplaced)} of the pods have no node. The scheduler says about {unplaced[0].name}: "
        f"{unplaced[0].unschedulable}{without} Add nodes, or ask for less (spec.platform, spec.podTemplate)."
    )
    return Wait(Reason.PODS_PENDING, message, stalled=False)


def _image(job: NeuronTrainingJob, pod: Pod) -> str:
    where = "spec.image" if job.spec.image else "the operator's default image (spec.image is not set)"
    detail = f" The kubelet says: {pod.waiting_message}" if pod.waiting_message else ""
    return (
        f"{where}: {pod.image or job.spec.image} cannot be pulled for pod {pod.name} ({pod.waiting_reason})."
        f"{detail.rstrip('.')}{'.' if detail else ''} Fix the name or the pull secret, or push the image; "
        "the kubelet tries again by itself."
    )
