"""What one pod asks of its node, and the environment that the platform needs (upstream-facts.md#trainium-resources).
Pure.

Variables that NxDT derives from the configuration are left to the trainer (`neuron_api.platform.environment`).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from neuron_api import contract
from neuron_api.derive import precision
from neuron_api.platform import instances as platform_nodes
from neuron_api.platform.devices import EFA_RESOURCE, GPU_RESOURCE, NEURON_RESOURCE
from neuron_api.resource.accelerator import Accelerator
from neuron_api.resource.job import NeuronTrainingJob
from neuron_operator.planning.observation import nodes
from neuron_operator.planning.validation import pod_memory
from neuron_operator.planning.validation.validation import Accepted

INSTANCE_TYPE_LABEL: Final = "node.kubernetes.io/instance-type"

_EFA: Final = {
    "FI_PROVIDER": "efa",
    "FI_EFA_USE_DEVICE_RDMA": "1",
    "FI_EFA_FORK_SAFE": "1",
}
_NEURON: Final = {
    "CCOM_SOCKET_IFNAME": "eth0",
    "MALLOC_ARENA_MAX": "128",
    "XLA_DISABLE_FUNCTIONALIZATION": "0",
}
"""Values of NxDT's examples/train_setup.sh."""
_TAINTS: Final = {Accelerator.NEURON: NEURON_RESOURCE, Accelerator.CUDA: GPU_RESOURCE}
"""Keys of the taints that nodes with devices have."""


def resources(job: NeuronTrainingJob, accepted: Accepted) -> dict[str, Any]:
    """The container's `resources`; empty without devices. Claims take the place of Trainium's extended resources."""
    devices = accepted.devices
    counts = {GPU_RESOURCE: devices.gpus}
    claims = [{"name": name} for name in _claim_names(job)]
    if not claims:
        counts |= {NEURON_RESOURCE: devices.neuron, EFA_RESOURCE: devices.efa}
    extended = {name: str(count) for name, count in counts.items() if count}
    # Request and limit are the same by Kubernetes' rule.
    requests = {**extended, **pod_memory.request(accepted.copies)}
    both = {part: values for part, values in (("requests", requests), ("limits", extended)) if values}
    return {**both, **({"claims": claims} if claims else {})}


def claims(job: NeuronTrainingJob) -> dict[str, Any]:
    """The pod's `resourceClaims`: one of each template, made and removed with the pod."""
    templates = job.spec.platform.resource_claims
    made = [
        {"name": name, "resourceClaimTemplateName": claim.resource_claim_template_name}
        for name, claim in zip(_claim_names(job), templates, strict=True)
    ]
    return {"resourceClaims": made} if made else {}


def _claim_names(job: NeuronTrainingJob) -> list[str]:
    return [f"devices-{number}" for number, _ in enumerate(job.spec.platform.resource_claims)]


def environment(job: NeuronTrainingJob, accepted: Accepted) -> dict[str, str]:
    """Variables of the platform, for Trainium only."""
    if not _neuron(job):
        return {}
    variables = dict(_NEURON)
    if accepted.devices.efa:
        variables |= _EFA
    instance = platform_nodes.instance(job.spec.platform)
    if accepted.devices.lnc and instance:
        peak = instance.peak_flops(accepted.devices.lnc, is_fp32=precision.policy(accepted.config).compute == "fp32")
        variables[contract.ENV_PEAK_FLOPS] = f"{peak:.0f}"
    if accepted.devices.lnc and instance and instance.max_lnc > 1:
        # The documentation uses both names; compiler and runtime must agree.
        variables |= dict.fromkeys(
            ("NEURON_LOGICAL_NC_CONFIG", "NEURON_RT_VIRTUAL_CORE_SIZE"), str(accepted.devices.lnc)
        )
    return variables


def node_fields(job: NeuronTrainingJob) -> dict[str, Any]:
    """Node selection of the pod's spec."""
    taint = _TAINTS.get(job.spec.platform.accelerator)
    if taint is None:
        return {}
    chosen = job.spec.platform.instance_type
    return {
        **({"nodeSelector": {INSTANCE_TYPE_LABEL: chosen}} if chosen else {}),
        "tolerations": [{"key": taint, "operator": "Exists", "effect": "NoSchedule"}],
    }


def avoiding(spec: Mapping[str, Any], hostnames: Sequence[str]) -> dict[str, Any]:
    """The pod's spec with a required node affinity away from these nodes, and with the affinity that it had.

    By the label of the host name: Karpenter makes no node for a pod that selects fields (metadata.name), and simulates
    new nodes with a host name of their own. Terms are alternatives, so the requirement goes into each.
    """
    away = {"key": nodes.HOSTNAME_LABEL, "operator": "NotIn", "values": list(hostnames)}
    affinity, key = _mapping(spec.get("affinity")), "requiredDuringSchedulingIgnoredDuringExecution"
    node_affinity = _mapping(affinity.get("nodeAffinity"))
    required = _mapping(node_affinity.get(key))
    terms = [
        {**term, "matchExpressions": [*(term.get("matchExpressions") or ()), away]} if _selects(term) else term
        for term in required.get("nodeSelectorTerms") or ()
    ]
    terms = terms or [{"matchExpressions": [away]}]
    node_affinity |= {key: {**required, "nodeSelectorTerms": terms}}
    return {**spec, "affinity": {**affinity, "nodeAffinity": node_affinity}}


def _selects(term: object) -> bool:
    """A term without requirements matches no node at all, and must not come to match most."""
    return isinstance(term, Mapping) and bool(term.get("matchExpressions") or term.get("matchFields"))


def _mapping(value: object) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _neuron(job: NeuronTrainingJob) -> bool:
    return job.spec.platform.accelerator is Accelerator.NEURON
