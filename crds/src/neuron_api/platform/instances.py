"""Nodes of each EC2 instance type with Trainium: chips, cores, EFA interfaces, memory, peak FLOP/s
(upstream-facts.md#trainium-instances)."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

_GIB: Final = 2**30


@dataclass(frozen=True, slots=True)
class Chip:
    """Dense FLOP/s of one chip, as AWS publishes them."""

    bf16: float
    """As many in FP16 and TF32."""
    fp32: float


TRAINIUM_1: Final = Chip(190e12, 47.5e12)
"""awsdocs-neuron.readthedocs-hosted.com, about-neuron/arch/neuron-hardware/trainium.rst, v2.28.1: two NeuronCore-v2."""
TRAINIUM_2: Final = Chip(667e12, 181e12)
"""The same, trainium2.rst, v2.29.0: eight NeuronCore-v3. Without structured sparsity."""


@dataclass(frozen=True, slots=True)
class InstanceType:
    """One node of an EC2 instance type."""

    name: str
    chips: int
    """`aws.amazon.com/neuron` devices."""
    cores_per_chip: int
    """Physical NeuronCores of a chip."""
    default_lnc: int
    """Physical cores per logical core if `trainer.lnc` is not set."""
    max_lnc: int
    efa: int
    """`vpc.amazonaws.com/efa` interfaces."""
    chip_memory: int
    """Bytes of device memory of a chip."""
    chip: Chip

    def peak_flops(self, lnc: int, *, is_fp32: bool) -> float:
        """Return the dense FLOP/s of a logical core."""
        return (self.chip.fp32 if is_fp32 else self.chip.bf16) * lnc / self.cores_per_chip

    def logical_cores(self, lnc: int) -> int:
        """Return the maximum number of processes on a node."""
        return self.chips * self.cores_per_chip // lnc


INSTANCE_TYPES: Final[Mapping[str, InstanceType]] = MappingProxyType(
    {
        t.name: t
        for t in (
            InstanceType("trn1.2xlarge", 1, 2, 1, 1, 0, 32 * _GIB, TRAINIUM_1),
            InstanceType("trn1.32xlarge", 16, 2, 1, 1, 8, 32 * _GIB, TRAINIUM_1),
            InstanceType("trn1n.32xlarge", 16, 2, 1, 1, 16, 32 * _GIB, TRAINIUM_1),
            InstanceType("trn2.3xlarge", 1, 8, 2, 2, 1, 96 * _GIB, TRAINIUM_2),
            InstanceType("trn2.48xlarge", 16, 8, 2, 2, 16, 96 * _GIB, TRAINIUM_2),
            # The number of EFA interfaces is not published; 16 is that of trn2.48xlarge (upstream-facts.md).
            InstanceType("trn2u.48xlarge", 16, 8, 2, 2, 16, 96 * _GIB, TRAINIUM_2),
        )
    }
)
"""Instance types by EC2's name."""

HYPERPOD: Final = "ml."
"""HyperPod's prefix of EC2's name, in the API and in its nodes' label node.kubernetes.io/instance-type
(docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-hyperpod-ref.html)."""

NAMES: Final = (*INSTANCE_TYPES, *(f"{HYPERPOD}{name}" for name in INSTANCE_TYPES))
"""All names that a node's label may have."""


def instance_of(name: str | None) -> InstanceType | None:
    """Return the type of EC2's or HyperPod's name; None for one without Trainium."""
    return INSTANCE_TYPES.get((name or "").removeprefix(HYPERPOD))
