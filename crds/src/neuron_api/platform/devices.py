"""Devices that one pod requests: Trainium chips and EFA interfaces, from the processes and the instance type; GPUs."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from neuron_api.config import TrainingConfig
from neuron_api.findings.finding import Finding, errors_of
from neuron_api.findings.registry import make_finding
from neuron_api.findings.suggestions import nearest
from neuron_api.resource.accelerator import Stack

from . import kernels
from .instances import (
    AS_PUBLISHED,
    HYPERPOD,
    INSTANCE_TYPES,
    NAMES,
    TRAINIUM_1,
    InstanceType,
    NodeDevices,
    generation_of,
    instance_of,
)

NEURON_RESOURCE: Final = "aws.amazon.com/neuron"
EFA_RESOURCE: Final = "vpc.amazonaws.com/efa"
GPU_RESOURCE: Final = "nvidia.com/gpu"
WITHOUT_TRAINIUM: Final = "Without Trainium set spec.platform.accelerator to CPU or CUDA."
_ALLOCATABLE: Final = "`kubectl get node NAME -o jsonpath={.status.allocatable}` has it"
_PARTS_OF_TRN1: Final = (1, 4, 8)
"""Chips of a node that can be allocated together, besides all 16 (Neuron SDK, deploy/infrastructure/scheduler.rst)."""


@dataclass(frozen=True, slots=True)
class Devices:
    """The devices that one pod requests."""

    neuron: int
    """Chips (`aws.amazon.com/neuron`)."""
    efa: int
    """`vpc.amazonaws.com/efa` interfaces; with whole nodes only."""
    lnc: int | None
    """Physical cores per logical core; None where there are none."""
    gpus: int = 0
    """`nvidia.com/gpu`, one for each process."""


NO_DEVICES: Final = Devices(neuron=0, efa=0, lnc=None)
"""Of a pod on CPU."""


def devices(
    config: TrainingConfig, instance_type: str | None, stated: NodeDevices = AS_PUBLISHED
) -> tuple[Devices | None, tuple[Finding, ...]]:
    """Return the devices of one pod on Trainium; None with findings if the node cannot hold it.

    `stated`: what spec.platform says about the devices of a node.
    """
    instance, missing = find_instance_type(instance_type, stated)
    if instance is None:
        return None, missing
    lnc = config.trainer.lnc or instance.default_lnc
    chips = math.ceil(config.trainer.devices * lnc / instance.cores_per_chip)
    parts = _parts(instance, chips)
    findings = (
        *_fits(config, instance, lnc),
        *_network(config, instance, chips),
        *parts,
        *kernels.check(config, instance),
        *_backend(instance),
    )
    if errors_of(findings):
        return None, findings
    efa = instance.efa or 0 if chips == instance.chips else 0
    return Devices(neuron=chips, efa=efa, lnc=lnc), findings


def find_instance_type(
    instance_type: str | None, stated: NodeDevices = AS_PUBLISHED
) -> tuple[InstanceType | None, tuple[Finding, ...]]:
    """Return the instance type, or findings if it is missing or unknown."""
    key, listed = "spec.platform.instanceType", ", ".join(INSTANCE_TYPES)
    if instance_type is None:
        remedy = f"Set it to one of {listed}, or spec.platform.accelerator to CPU or CUDA."
        return None, (make_finding(3001, key, "it is not set, so the devices of a node are not known.", remedy),)
    instance = instance_of(instance_type, stated)
    if instance is None and generation_of(instance_type):
        message = f"the number of Neuron devices of {instance_type} is not published."
        return None, (make_finding(3017, "spec.platform.neuronDevices", message, f"Set it: {_ALLOCATABLE}."),)
    if instance is None:
        near = nearest(instance_type, NAMES)
        message = f"{instance_type!r} is not a Trainium instance type."
        hint = f"Use one of {listed}; on HyperPod with {HYPERPOD} in front. {WITHOUT_TRAINIUM}"
        if near:
            hint = f"Did you mean {near}? {hint}"
        return None, (make_finding(3002, key, message, hint),)
    return instance, ()


def _fits(config: TrainingConfig, instance: InstanceType, lnc: int) -> Iterator[Finding]:
    if lnc > instance.max_lnc:
        yield make_finding(
            3003, "trainer.lnc", f"{lnc} is not possible on {instance.name}, whose cores cannot be joined."
        )
        return
    processes, cores = config.trainer.devices, instance.logical_cores(lnc)
    if processes > cores:
        yield make_finding(
            3004,
            "trainer.devices",
            f"{processes} processes per node are more than the {cores} logical NeuronCores of {instance.name} "
            f"({instance.chips} chips x {instance.cores_per_chip} cores / lnc {lnc}).",
            f"Use at most {cores}; more processes come from more nodes (trainer.num_nodes).",
        )


def _network(config: TrainingConfig, instance: InstanceType, chips: int) -> Iterator[Finding]:
    if config.trainer.num_nodes == 1:
        return
    if instance.efa is None:
        message = f"the number of EFA interfaces of {instance.name} is not published, and several nodes need them."
        yield make_finding(3018, "spec.platform.efaInterfaces", message, f"Set it: {_ALLOCATABLE}.")
    elif instance.efa == 0:
        yield make_finding(
            3006,
            "trainer.num_nodes",
            f"{instance.name} has no EFA interface and cannot join a multi-node job.",
            "Use trainer.num_nodes 1 or a larger instance type.",
        )
    elif chips < instance.chips:
        yield make_finding(
            3005,
            "trainer.devices",
            f"{chips} of {instance.chips} chips per node over several nodes leave its EFA interfaces unused.",
            "Use whole nodes for multi-node training.",
        )


def _parts(instance: InstanceType, chips: int) -> Iterator[Finding]:
    """Yield the finding about a part of a Trn1 node that cannot be allocated: its chips form a torus
    (upstream-facts.md#trainium-instances)."""
    if instance.generation is TRAINIUM_1 and chips < instance.chips and chips not in _PARTS_OF_TRN1:
        sizes = ", ".join(map(str, _PARTS_OF_TRN1))
        message = f"{chips} of {instance.chips} chips: Neuron's scheduler gives {sizes} or {instance.chips} of a node."
        yield make_finding(3015, "trainer.devices", message)


def _backend(instance: InstanceType) -> Iterator[Finding]:
    """Yield the finding about an instance type whose backend no device has run."""
    if instance.generation.stack is Stack.XLA:
        message = (
            f"{instance.name} runs PyTorch/XLA alone. Its backend is tested on hosts and on lazy XLA, and has run "
            "on no device."
        )
        yield make_finding(3019, "spec.platform.instanceType", message)
