"""How many nodes the attempt of an elastic job has, and what its status says about them."""

from neuron_api import contract
from neuron_api.resource.elastic import ElasticStatus
from neuron_api.resource.job import NeuronTrainingJob
from neuron_operator.planning.observation.observation import Observed, Pod
from neuron_operator.planning.validation.validation import Accepted


def of_attempt(observed: Observed, accepted: Accepted, attempt: int) -> int:
    """Return the number of nodes that the attempt has, or will have.

    The status knows it. Where that was lost the pods say it; before anything was started, the spec.
    """
    job, own = observed.job, accepted.topology.num_nodes
    desired = accepted.node_plan.desired or own
    if job.status.start_time is None and not observed.pods:
        return desired
    if job.status.elastic is not None:
        return job.status.elastic.nodes
    labels = [_label(pod) for pod in observed.pods if pod.attempt == attempt]
    return next((count for count in labels if count), own if job.status.start_time else desired)


def status(job: NeuronTrainingJob, accepted: Accepted, nodes: int) -> ElasticStatus | None:
    """Return the status; None: the number cannot change, and is the configuration's own."""
    before, plan = job.status.elastic, accepted.node_plan
    if job.spec.elastic_policy is None and (before is None or plan.legal == (nodes,)):
        return None
    desired = plan.desired or nodes
    current = before or ElasticStatus(nodes=nodes, desired_nodes=desired)
    update: dict[str, object] = {"nodes": nodes, "desired_nodes": desired, "legal_nodes": plan.legal}
    if desired != current.desired_nodes:
        update["next_growth_time"] = None  # somebody asks for it now
    return current.model_copy(update=update)


def _label(pod: Pod) -> int:
    text = pod.labels.get(contract.LABEL_NODES, "")
    return int(text) if text.isascii() and text.isdigit() else 0
