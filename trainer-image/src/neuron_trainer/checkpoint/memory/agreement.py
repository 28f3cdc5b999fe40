"""Which copy in memory a start takes: the newest step that all processes have undamaged, unless storage has a newer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch.distributed as dist

from neuron_trainer.parallel import hosts

from .copies import slot_paths, steps_of
from .exchange import held_paths, held_steps, source_of
from .slot import CopyIdentity, clear, header_of, is_intact


@dataclass(frozen=True, slots=True)
class MemoryChoice:
    """What all processes take from memory together."""

    step: int = 0
    """0: nothing; storage is newer, or not all have a copy."""
    missing: tuple[int, ...] = ()
    """Ranks whose copy another node holds."""
    passed_over: tuple[str, ...] = ()
    """What is newer and not taken, a phrase each: damaged copies, and those of another configuration or split."""


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

        `stored`: the step that storage has, on rank 0; a copy of the same step is taken, since it is there. What is to
        be taken is verified while older copies are still there: one that is damaged is taken away, and the processes
        choose again. Files of another split go.
        """
        unfit, damaged = self._unfit(), list[str]()
        while True:
            everywhere = _gathered((stored, *self._steps()))
            chosen = choose([steps for _, steps, _ in everywhere], [held for *_, held in everywhere], everywhere[0][0])
            removed = _all(self._remove_damaged(chosen))
            damaged += removed
            if not removed:
                break
        self._remove_other_splits()
        newest = max(chosen.step, everywhere[0][0])
        older = {text: step for step, text in _all(unfit) if step > newest}  # the barrier before memory is reserved
        return replace(chosen, passed_over=(*damaged, *sorted(older, key=lambda text: -older[text])[:1]))

    def _steps(self) -> tuple[list[int], dict[int, list[int]]]:
        """Return the steps of the copies of this process, and of those that it holds of another."""
        held = {source.rank: held_steps(self.folder, source) for source in self._sources()}
        return steps_of(self.folder, self.identity), held

    def _sources(self) -> list[CopyIdentity]:
        return [replace(self.identity, rank=source_of(self.identity))] if self.replicas else []

    def _remove_damaged(self, chosen: MemoryChoice) -> list[str]:
        """Take away what is damaged of the files that a start would take or send; return what they were."""
        if not chosen.step:
            return []
        texts, own = [], self.identity
        for identity in (own, *(source for source in self._sources() if source.rank in chosen.missing)):
            is_own = identity is own
            for path in (slot_paths if is_own else held_paths)(self.folder, identity.rank):
                header = header_of(path)
                if header is None or (header.identity, header.step) != (identity, chosen.step) or is_intact(path):
                    continue
                clear(path)
                place = "" if is_own else f", held by rank {own.rank},"
                texts.append(f"the copy in memory of step {header.step} of rank {identity.rank}{place} is damaged")
        return texts

    def _unfit(self) -> list[tuple[int, str]]:
        """Return the steps of copies of this run that were made in another way, with what is different."""
        headers = [header_of(path) for path in slot_paths(self.folder, self.identity.rank)]
        return [
            (header.step, f"the copy in memory of step {header.step} is of {different}")
            for header in headers
            if header is not None and (different := _different(header.identity, self.identity))
        ]

    def _remove_other_splits(self) -> None:
        """Free the memory of ranks that this node no longer has; the first process of the node does it for all."""
        first, count = self.identity.rank, self.identity.processes_per_node
        if first % count:
            return
        current = set[Path]()
        for rank in range(first, first + count):
            identity = replace(self.identity, rank=rank)
            current.update(slot_paths(self.folder, rank))
            current.update(held_paths(self.folder, source_of(identity)) if self.replicas else ())
        for path in (*self.folder.glob("rank-*"), *self.folder.glob("peer-*")):
            if path not in current:
                path.unlink(missing_ok=True)


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


def _different(before: CopyIdentity, now: CopyIdentity) -> str:
    """Return in what a copy of this run differs from one that is taken; empty: in nothing, or it is another run's."""
    if before.run_id != now.run_id:
        return ""
    (configuration, _, model), (current, _, current_model) = (
        identity.config_hash.partition(":") for identity in (before, now)
    )
    split, current_split = ((identity.world_size, identity.processes_per_node) for identity in (before, now))
    differences = [
        *(["another configuration"] if configuration != current else []),
        *(["another file of the model (model.model_config)"] if model != current_model else []),
        *([f"release {before.release}, not {now.release}"] if before.release != now.release else []),
        *([f"{_sizes(before)}, not {_sizes(now)}"] if split != current_split else []),
        *([f"accelerator {before.accelerator}"] if before.accelerator != now.accelerator else []),
    ]
    return " and ".join(differences)


def _sizes(identity: CopyIdentity) -> str:
    return f"{identity.world_size // identity.processes_per_node} x {identity.processes_per_node} processes"


def _gathered(value: Any) -> list[Any]:
    everywhere: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everywhere, value, group=hosts.group())
    return everywhere


def _all(values: list[Any]) -> list[Any]:
    """Return the values of all processes."""
    return [value for share in _gathered(values) for value in share]
