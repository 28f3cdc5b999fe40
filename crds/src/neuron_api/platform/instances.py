"""Nodes of each EC2 instance type with Trainium: chips, cores, EFA interfaces, memory, peak FLOP/s
(upstream-facts.md#trainium-instances).

A chip's facts follow from its generation. How many a node has is published for most types; where it is not, and for
types that are newer than this release, `spec.platform` says it.

`instance` is the type that a job's `spec.platform` asks for, `contradictions` what it says to no effect.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from neuron_api.findings.finding import Finding, warning
from neuron_api.resource.accelerator import Accelerator, Stack
from neuron_api.resource.spec import Platform

_GIB: Final = 2**30


@dataclass(frozen=True, slots=True)
class Generation:
    """One chip of a generation; dense FLOP/s as AWS publishes them."""

    name: str
    """As the names of its instance types begin: `trn1`, `trn2`, `trn3`."""
    cores: int
    """Physical NeuronCores of a chip."""
    max_lnc: int
    """Maximum of physical cores in a logical core, and the default if `trainer.lnc` is not set."""
    memory: int
    """Bytes of device memory."""
    bf16: float
    """As many in FP16 and TF32."""
    fp32: float
    stack: Stack


TRAINIUM_1: Final = Generation("trn1", 2, 1, 32 * _GIB, 190e12, 47.5e12, Stack.XLA)
"""awsdocs-neuron.readthedocs-hosted.com, about-neuron/arch/neuron-hardware/trainium.rst, v2.28.1: two NeuronCore-v2."""
TRAINIUM_2: Final = Generation("trn2", 8, 2, 96 * _GIB, 667e12, 181e12, Stack.TORCHNEURON)
"""The same, trainium2.rst, v2.29.0: eight NeuronCore-v3. Without structured sparsity."""
TRAINIUM_3: Final = Generation("trn3", 8, 2, 144 * _GIB, 671e12, 183e12, Stack.TORCHNEURON)
"""The same, trainium3.rst, v2.29.1: eight NeuronCore-v4. Its default lnc is not published; 2 is that of Trn2."""

GENERATIONS: Final = (TRAINIUM_1, TRAINIUM_2, TRAINIUM_3)


@dataclass(frozen=True, slots=True)
class NodeDevices:
    """What a job's `spec.platform` says about the devices of a node; None: as published."""

    chips: int | None = None
    efa: int | None = None


AS_PUBLISHED: Final = NodeDevices()


@dataclass(frozen=True, slots=True)
class InstanceType:
    """One node of an EC2 instance type."""

    name: str
    chips: int
    """`aws.amazon.com/neuron` devices."""
    efa: int | None
    """`vpc.amazonaws.com/efa` interfaces; None if the number is not published."""
    generation: Generation

    @property
    def cores_per_chip(self) -> int:
        """Return the physical NeuronCores of a chip."""
        return self.generation.cores

    @property
    def default_lnc(self) -> int:
        """Return the physical cores of a logical core if `trainer.lnc` is not set."""
        return self.generation.max_lnc

    @property
    def max_lnc(self) -> int:
        """Return the maximum of physical cores in a logical core."""
        return self.generation.max_lnc

    @property
    def chip_memory(self) -> int:
        """Return the bytes of device memory of a chip."""
        return self.generation.memory

    def peak_flops(self, lnc: int, *, is_fp32: bool) -> float:
        """Return the dense FLOP/s of a logical core."""
        return (self.generation.fp32 if is_fp32 else self.generation.bf16) * lnc / self.cores_per_chip

    def logical_cores(self, lnc: int) -> int:
        """Return the maximum number of processes on a node."""
        return self.chips * self.cores_per_chip // lnc


INSTANCE_TYPES: Final[Mapping[str, InstanceType]] = MappingProxyType(
    {
        t.name: t
        for t in (
            InstanceType("trn1.2xlarge", 1, 0, TRAINIUM_1),
            InstanceType("trn1.32xlarge", 16, 8, TRAINIUM_1),
            InstanceType("trn1n.32xlarge", 16, 16, TRAINIUM_1),
            InstanceType("trn2.3xlarge", 1, 1, TRAINIUM_2),
            InstanceType("trn2.48xlarge", 16, 16, TRAINIUM_2),
            # The number of EFA interfaces is not published; 16 is that of trn2.48xlarge (upstream-facts.md).
            InstanceType("trn2u.48xlarge", 16, 16, TRAINIUM_2),
            InstanceType("trn3pd98.3xlarge", 1, None, TRAINIUM_3),
        )
    }
)
"""Instance types by EC2's name."""

HYPERPOD: Final = "ml."
"""HyperPod's prefix of EC2's name, in the API and in its nodes' label node.kubernetes.io/instance-type
(docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-hyperpod-ref.html)."""

NAMES: Final = (*INSTANCE_TYPES, *(f"{HYPERPOD}{name}" for name in INSTANCE_TYPES))
"""All names that a node's label may have, of types whose devices are published."""

FORM: Final = r"^(ml[.])?trn[1-3][a-z0-9-]*[.][a-z0-9-]+$"
"""A name of a known generation, in the syntax that Python and CEL share: trn3.48xlarge, ml.trn2u.48xlarge."""


def generation_of(name: str | None) -> Generation | None:
    """Return the generation of EC2's or HyperPod's name of an instance type; None for one without Trainium."""
    if not re.fullmatch(FORM, name or ""):
        return None
    start = (name or "").removeprefix(HYPERPOD)
    return next(generation for generation in GENERATIONS if start.startswith(generation.name))


def instance_of(name: str | None, stated: NodeDevices = AS_PUBLISHED) -> InstanceType | None:
    """Return the type of EC2's or HyperPod's name; None for one without Trainium, or with an unknown number of chips.

    What is stated takes the place of what is published.
    """
    short, generation = (name or "").removeprefix(HYPERPOD), generation_of(name)
    published = INSTANCE_TYPES.get(short)
    if published is None:
        if generation is None or stated.chips is None:
            return None
        return InstanceType(short, stated.chips, stated.efa, generation)
    return replace(
        published,
        chips=published.chips if stated.chips is None else stated.chips,
        efa=published.efa if stated.efa is None else stated.efa,
    )


_ONLY_NEURON: Final = {"neuron_devices": "neuronDevices", "efa_interfaces": "efaInterfaces"}
_NOT_CPU: Final = {**_ONLY_NEURON, "instance_type": "instanceType"}
"""Fields of `spec.platform`, and how they are written."""


def device_of(platform: Platform) -> str:
    """Return PyTorch's name of the device that a job's processes compute on."""
    generation = generation_of(platform.instance_type) if platform.accelerator is Accelerator.NEURON else None
    return generation.stack.device if generation else platform.accelerator.device


def stated_devices(platform: Platform) -> NodeDevices:
    """Return what a job says about the devices of a node."""
    return NodeDevices(platform.neuron_devices, platform.efa_interfaces)


def instance(platform: Platform) -> InstanceType | None:
    """Return the Trainium instance type; None for other accelerators, and if its devices are not known."""
    if platform.accelerator is not Accelerator.NEURON:
        return None
    return instance_of(platform.instance_type, stated_devices(platform))


def contradictions(platform: Platform) -> Iterator[Finding]:
    """Yield a warning for each field that changes nothing, or that differs from what is published and is used."""
    accelerator = platform.accelerator
    if accelerator is not Accelerator.NEURON:
        fields = _NOT_CPU if accelerator is Accelerator.CPU else _ONLY_NEURON
        for name in (name for name in fields if getattr(platform, name) is not None):
            key, remedy = f"spec.platform.{fields[name]}", "Leave it out, or set spec.platform.accelerator to Neuron."
            yield warning(key, f"it has no effect with accelerator {accelerator}.", remedy)
        return
    if (published := instance_of(platform.instance_type)) is None:
        return
    chips = "neuronDevices", platform.neuron_devices, published.chips
    interfaces = "efaInterfaces", platform.efa_interfaces, published.efa
    for name, stated, number in (chips, interfaces):
        if stated is not None and number is not None and stated != number:
            message = f"{stated} is used, and {published.name} has {number}."
            yield warning(f"spec.platform.{name}", message, "Leave it out, unless status.allocatable of a node has it.")
