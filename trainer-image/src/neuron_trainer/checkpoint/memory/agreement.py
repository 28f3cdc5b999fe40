"""Which copy in memory a start takes: the newest step that all processes have, unless storage has a newer one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.distributed as dist

from neuron_trainer.parallel import hosts

from .copies import steps_of
from .slot import CopyIdentity


@dataclass(frozen=True, slots=True)
class MemoryTier:
    """The copies of one process, as a start has them."""

    folder: Path
    """The launcher's, in shared memory."""
    identity: CopyIdentity
    every_steps: int

    def newest_step(self, stored: int) -> int:
        """Return the step that all processes take from memory; 0: none, storage is newer or not all have a copy.

        A collective. `stored`: the step that storage has, on rank 0; a copy of the same step is taken: it is there.
        """
        everywhere: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(everywhere, (stored, steps_of(self.folder, self.identity)), group=hosts.group())
        return choose([steps for _, steps in everywhere], everywhere[0][0])


def choose(steps: Sequence[Sequence[int]], stored: int) -> int:
    """Return the newest step in all lists that is not older than the stored one; 0: there is none."""
    common = set(steps[0]).intersection(*steps[1:])
    return max((step for step in common if step >= stored), default=0)
