"""Which copy in memory a start takes: the newest step that all processes have, unless storage has a newer one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch.distributed as dist

from neuron_trainer.parallel import hosts

from .copies import steps_of
from .exchange import held_steps
from .slot import CopyIdentity


@dataclass(frozen=True, slots=True)
class MemoryChoice:
    """What all processes take from memory together."""

    step: int = 0
    """0: nothing; storage is newer, or not all have a copy."""
    missing: tuple[int, ...] = ()
    """Ranks whose copy another node holds."""


@dataclass(frozen=True, slots=True)
class MemoryTier:
    """The copies of one process, as a start has them."""

    folder: Path
    """The launcher's, in shared memory."""
    identity: CopyIdentity
    every_steps: int
    replicas: int = 0
    """On how many other nodes each copy is held, too."""

    def choose(self, stored: int) -> MemoryChoice:
        """Return what is taken; a collective.

        `stored`: the step that storage has, on rank 0; a copy of the same step is taken, since it is there.
        """
        own, held = steps_of(self.folder, self.identity), dict[int, list[int]]()
        if self.replicas:
            source = (self.identity.rank - self.identity.processes_per_node) % self.identity.world_size
            held[source] = held_steps(self.folder, replace(self.identity, rank=source))
        everywhere: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(everywhere, (stored, own, held), group=hosts.group())
        return choose([steps for _, steps, _ in everywhere], [copies for *_, copies in everywhere], everywhere[0][0])


def choose(own: Sequence[Sequence[int]], held: Sequence[Mapping[int, Sequence[int]]], stored: int) -> MemoryChoice:
    """Return the newest step that every process has, or another holds for it, and that is not older than the stored.

    `own`: the steps of each rank; `held`: those that each rank holds of others.
    """
    of_others: dict[int, set[int]] = {}
    for copies in held:
        for rank, steps in copies.items():
            of_others.setdefault(rank, set()).update(steps)
    every = [set(steps) | of_others.get(rank, set()) for rank, steps in enumerate(own)]
    step = max((step for step in set.intersection(*every) if step >= stored), default=0)
    return MemoryChoice(step, tuple(rank for rank, steps in enumerate(own) if step and step not in steps))
