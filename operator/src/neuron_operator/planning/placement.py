"""What one pod asks of its node, and the environment that the platform needs (operator.md §3.1-§3.3). Pure.

Variables that NxDT derives from the configuration are left to the trainer (`neuron_api.environment`).
"""

from typing import Any, Final

from neuron_api.devices import EFA_RESOURCE, NEURON_RESOURCE
from neuron_api.instances import INSTANCE_TYPES
from neuron_api.job import NeuronTrainingJob
from neuron_api.spec import Accelerator

from .configuration import Accepted

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


def resources(accepted: Accepted) -> dict[str, str]:
    """Extended resources; request and limit are the same by Kubernetes' rule."""
    wanted = {NEURON_RESOURCE: accepted.devices.neuron, EFA_RESOURCE: accepted.devices.efa}
    return {name: str(count) for name, count in wanted.items() if count}


def environment(job: NeuronTrainingJob, accepted: Accepted) -> dict[str, str]:
    """Variables of the platform, for Trainium only."""
    if not _neuron(job):
        return {}
    found = dict(_NEURON)
    if accepted.devices.efa:
        found |= _EFA
    instance = INSTANCE_TYPES.get(job.spec.platform.instance_type or "")
    if accepted.devices.lnc and instance and instance.max_lnc > 1:
        # The documentation uses both names; compiler and runtime must agree.
        found |= dict.fromkeys(("NEURON_LOGICAL_NC_CONFIG", "NEURON_RT_VIRTUAL_CORE_SIZE"), str(accepted.devices.lnc))
    return found


def node_fields(job: NeuronTrainingJob) -> dict[str, Any]:
    """Node selection of the pod's spec."""
    if not _neuron(job):
        return {}
    return {
        "nodeSelector": {INSTANCE_TYPE_LABEL: job.spec.platform.instance_type},
        "tolerations": [{"key": NEURON_RESOURCE, "operator": "Exists", "effect": "NoSchedule"}],
    }


def _neuron(job: NeuronTrainingJob) -> bool:
    return job.spec.platform.accelerator is Accelerator.NEURON
