"""What a node of each EC2 instance type with Trainium has (operator.md §3.1, with its sources)."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

_GIB: Final = 2**30


@dataclass(frozen=True, slots=True)
class InstanceType:
    """What one node of an EC2 instance type has."""

    name: str
    chips: int
    """`aws.amazon.com/neuron` devices."""
    cores_per_chip: int
    """Physical NeuronCores of a chip."""
    default_lnc: int
    """Physical cores per logical core when `trainer.lnc` is not set."""
    max_lnc: int
    efa: int
    """`vpc.amazonaws.com/efa` interfaces."""
    chip_memory: int
    """Bytes of device memory of a chip."""

    def logical_cores(self, lnc: int) -> int:
        """Most processes that a node can hold."""
        return self.chips * self.cores_per_chip // lnc


INSTANCE_TYPES: Final[Mapping[str, InstanceType]] = MappingProxyType(
    {
        t.name: t
        for t in (
            InstanceType("trn1.2xlarge", 1, 2, 1, 1, 0, 32 * _GIB),
            InstanceType("trn1.32xlarge", 16, 2, 1, 1, 8, 32 * _GIB),
            InstanceType("trn1n.32xlarge", 16, 2, 1, 1, 16, 32 * _GIB),
            InstanceType("trn2.3xlarge", 1, 8, 2, 2, 1, 96 * _GIB),
            InstanceType("trn2.48xlarge", 16, 8, 2, 2, 16, 96 * _GIB),
            # The number of EFA interfaces is not published; 16 is that of trn2.48xlarge (operator.md §3.1).
            InstanceType("trn2u.48xlarge", 16, 8, 2, 2, 16, 96 * _GIB),
        )
    }
)
"""By name."""
