"""What `spec.podTemplate` may not say since another field of the spec says it, or since pods would not find each other.

`template` refuses what no job can do without; here it depends on the rest of the spec: devices, queue, gang, topology.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from neuron_api import contract
from neuron_api.findings.finding import Finding, error
from neuron_api.platform.devices import EFA_RESOURCE, NEURON_RESOURCE, Devices
from neuron_api.resource.scheduling import GangScheduler, Scheduling
from neuron_api.resource.spec import Platform
from neuron_operator.planning.scheduling import registry
from neuron_operator.planning.strategic_merge import merge

_ROOT: Final = "spec.podTemplate"
_ANY: Final = Platform()
_OTHER_DEVICES: Final = ("aws.amazon.com/neuroncore", "aws.amazon.com/neurondevice")


def findings(
    template: Mapping[str, Any] | None, scheduling: Scheduling, devices: Devices, platform: Platform = _ANY
) -> tuple[Finding, ...]:
    """All of them at once. `devices`: what the configuration needs of a node."""
    metadata, spec = (_mapping((template or {}).get(part)) for part in ("metadata", "spec"))
    return (
        *_marks(metadata),
        *_scheduling(spec, scheduling),
        *_network(spec),
        *_devices(spec, devices, has_claims=bool(platform.resource_claims)),
    )


def _marks(metadata: Mapping[str, Any]) -> Iterator[Finding]:
    """Pods queued one by one would wait for each other forever."""
    for part in ("labels", "annotations"):
        for key in _mapping(metadata.get(part)):
            if registry.is_reserved(str(key)):
                yield error(
                    f"{_ROOT}.metadata.{part}[{key}]",
                    "it cannot be set: pods that are queued one by one wait for each other forever.",
                    "Use spec.scheduling.",
                )


def _scheduling(spec: Mapping[str, Any], scheduling: Scheduling) -> Iterator[Finding]:
    gang, by_pod_fields = scheduling.gang is not GangScheduler.NONE, registry.follows_pod_fields(scheduling.gang)
    rules = (
        ("schedulerName", gang or scheduling.scheduler_name, "spec.scheduling.schedulerName"),
        ("priorityClassName", scheduling.priority_class_name and by_pod_fields, "spec.scheduling.priorityClassName"),
        ("schedulingGates", gang, "spec.scheduling.gang"),
        ("schedulingGroup", True, "spec.scheduling.gang: Workload"),
        ("nodeName", gang, "nodeSelector or affinity: with a node named no scheduler is asked,"),
    )
    for key, taken, instead in rules:
        if taken and spec.get(key):
            yield error(
                f"{_ROOT}.spec.{key}", "spec.scheduling decides about it.", f"Use {instead} and remove it here."
            )
    near = scheduling.topology.required or scheduling.topology.preferred
    if near and by_pod_fields and _mapping(spec.get("affinity")).get("podAffinity"):
        yield error(
            f"{_ROOT}.spec.affinity.podAffinity",
            "it would take the place of that of spec.scheduling.topology.",
            "Keep one of the two.",
        )


def _network(spec: Mapping[str, Any]) -> Iterator[Finding]:
    """Pods find each other by the cluster's DNS."""
    policy, host = spec.get("dnsPolicy"), spec.get("hostNetwork") is True
    if host and policy not in ("ClusterFirstWithHostNet", "None"):
        yield error(
            f"{_ROOT}.spec.hostNetwork",
            "pods find each other by the cluster's DNS, which pods in the host's network do not ask by default.",
            "Set dnsPolicy to ClusterFirstWithHostNet beside it.",
        )
    elif policy == "Default":
        yield error(
            f"{_ROOT}.spec.dnsPolicy",
            "pods find each other by the cluster's DNS, and Default asks the node's.",
            "Use ClusterFirst, or None with the cluster's server in dnsConfig.",
        )
    if "activeDeadlineSeconds" in spec:
        yield error(
            f"{_ROOT}.spec.activeDeadlineSeconds",
            "a pod that is ended by it counts as failed and is recreated.",
            "Use spec.activeDeadlineSeconds.",
        )


def _devices(spec: Mapping[str, Any], devices: Devices, *, has_claims: bool) -> Iterator[Finding]:
    """The processes use as many devices as the configuration says, whatever the pod asks for."""
    for container in _items(spec.get("containers")):
        if container.get("name") == contract.CONTAINER and "resources" in container:
            where = f"{_ROOT}.spec.containers[{contract.CONTAINER}].resources"
            if has_claims:
                yield from _claimed(_mapping(container["resources"]), where)
                continue
            resources = _merged(container["resources"], devices)
            for part in ("requests", "limits"):
                yield from _neuron(resources[part], f"{where}.{part}", devices)
            requests, limits = (str(resources[part].get(EFA_RESOURCE, "none")) for part in ("requests", "limits"))
            if requests != limits:
                cause = f"it differs from the request ({requests}), and the API server takes no such pod."
                yield error(f"{where}.limits[{EFA_RESOURCE}]", cause, "Set both to the same number.")


def _claimed(resources: Mapping[str, Any], where: str) -> Iterator[Finding]:
    """Yield findings about devices that are claimed and requested."""
    for part in ("requests", "limits"):
        for name in (NEURON_RESOURCE, EFA_RESOURCE, *_OTHER_DEVICES):
            if name in _mapping(resources.get(part)):
                cause = "spec.platform.resourceClaims claims the devices."
                yield error(f"{where}.{part}[{name}]", cause, "Keep one of the two.")


def _merged(resources: Any, devices: Devices) -> dict[str, Mapping[str, Any]]:
    """Requests and limits as the pod will have them."""
    counts = ((NEURON_RESOURCE, devices.neuron), (EFA_RESOURCE, devices.efa))
    needed = {name: str(count) for name, count in counts if count}
    both = merge({"requests": needed, "limits": needed}, _mapping(resources)) if resources is not None else {}
    return {part: _mapping(both.get(part)) for part in ("requests", "limits")}


def _neuron(resources: Mapping[str, Any], where: str, devices: Devices) -> Iterator[Finding]:
    has = resources.get(NEURON_RESOURCE, "none")
    if devices.neuron and str(has) != str(devices.neuron):
        cause = f"the processes of a pod need {devices.neuron} (trainer.devices, spec.platform), not {has}."
        yield error(f"{where}[{NEURON_RESOURCE}]", cause, "Remove it, or change trainer.devices.")
    for name in _OTHER_DEVICES:
        if name in resources:
            remedy = "Remove it; trainer.devices and spec.platform say how many."
            yield error(f"{where}[{name}]", f"devices are asked for whole, as {NEURON_RESOURCE}.", remedy)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _items(value: Any) -> Iterator[Mapping[str, Any]]:
    yield from (item for item in (value if isinstance(value, list) else ()) if isinstance(item, Mapping))
