"""A second place for each copy: the process with the same number on the next node, in a ring over the nodes.

Messages go over a gloo group of their own, beside those of the steps, in pieces with a bound on the speed. Each copy
begins with the token that rank 0 has drawn for this start, and is complete or absent by the same rule as the copies of
a process itself: the header is written last, when the checksum of what has come is the sender's.
"""

import os
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final, cast

import torch
import torch.distributed as dist
import xxhash
from torch import Tensor
from torch.distributed import ProcessGroup

from neuron_api import contract
from neuron_trainer.errors import CheckpointError
from neuron_trainer.parallel import hosts

from .slot import PAGE, CopyFile, CopyIdentity, header_of, unpacked

_PIECE: Final = 4 << 20
"""Bytes of a message."""
_TOKEN: Final = 16
"""Bytes of the token."""
_TIMEOUT: Final = timedelta(minutes=10)
_MEGABYTES_PER_SECOND: Final = 1000.0
"""Of what a process sends, at most."""
_FILES: Final = (0, 1)


class PeerExchange:
    """The copies that this process holds of another, and the way of its own to a third; making one is a collective."""

    def __init__(self, folder: Path, identity: CopyIdentity, end: int) -> None:
        """Reserve the memory; raises `OSError`. `end`: the bytes of a copy of this process without the state."""
        self._rank, world = identity.rank, identity.world_size
        self._target = target_of(identity.rank, identity)
        self._source = source_of(identity)
        self._held = replace(identity, rank=self._source)
        everywhere: list[Any] = [None] * world
        dist.all_gather_object(everywhere, (end, secrets.token_bytes(_TOKEN)), group=hosts.group())
        self._token: bytes = everywhere[0][1]
        self._group = cast(ProcessGroup, dist.new_group(backend="gloo", timeout=_TIMEOUT))
        size = everywhere[self._source][0]
        self._files = [CopyFile(path, size, keeps=_fits(path, size)) for path in held_paths(folder, self._source)]
        self._next = 0
        self._pace = _Pace(float(os.environ.get(contract.ENV_MEMORY_BANDWIDTH, _MEGABYTES_PER_SECOND)) * 1e6)

    def keep_only(self, step: int) -> None:
        """Take away all copies of the other process but that of a step."""
        for number, file in enumerate(self._files):
            header = file.header
            if header is not None and header.identity == self._held and header.step == step > 0:
                self._next = 1 - number
            else:
                file.clear()

    def exchange(self, own: CopyFile) -> None:
        """Send a complete copy of this process on, and take the one of the process before it."""
        target, self._next = self._files[self._next], 1 - self._next
        self._transfer(own, self._target, target, self._source)

    def replicate(self, own: CopyFile, step: int) -> None:
        """Exchange the copies of a step that training goes on from: after the loss of a node, or a kill on the way of
        a copy, they have one place only. A copy that is there stays until the new one is complete."""
        self._next = min((0, 1), key=lambda number: self._value_of(self._files[number], step))
        self.exchange(own)

    def _value_of(self, file: CopyFile, step: int) -> int:
        """Return how much a file is worth: its step, none that is not this run's, most where it is the one."""
        header = file.header
        if header is None or header.identity != self._held:
            return -1
        return header.step if header.step != step else 1 << 62

    def fetch(self, ranks: Sequence[int], step: int, identity: CopyIdentity, own: CopyFile) -> None:
        """Give `ranks`, which have lost theirs, the copies of a step that others hold; a collective."""
        for rank in ranks:
            if rank == self._rank:
                self._transfer(None, -1, own, target_of(rank, identity))
            elif rank == self._source:
                held = max(self._files, key=lambda file: self._value_of(file, step))
                self._transfer(held, rank, None, -1)

    def _transfer(self, outgoing: CopyFile | None, to: int, incoming: CopyFile | None, source: int) -> None:
        page = outgoing.page if outgoing is not None else b""
        sent = [_tensor(self._token + page)] if outgoing is not None else []
        greeting = torch.empty(_TOKEN + PAGE if incoming is not None else 0, dtype=torch.uint8)
        self._swap(sent, to, [greeting] if incoming is not None else [], source, _ignore)
        header, own = None, unpacked(page)
        if incoming is not None:
            content = greeting.numpy().tobytes()
            header = unpacked(content[_TOKEN:])
            if content[:_TOKEN] != self._token or header is None:
                raise CheckpointError(f"what rank {source} has sent is no copy of this start")
            incoming.clear()
        state = torch.empty(header.state_size if header is not None else 0, dtype=torch.uint8)
        digest = xxhash.xxh3_128()
        parts = [*_pieces(outgoing.tensors), _tensor(outgoing.state(own.state_size))] if outgoing and own else []
        places = [*_pieces(incoming.tensors), state] if incoming is not None else []
        self._swap(parts, to, places, source, lambda part: digest.update(part.numpy().data))
        if incoming is not None and header is not None:
            if digest.hexdigest() != header.checksum:
                raise CheckpointError(f"the copy that rank {source} has sent was damaged on its way")
            incoming.complete(greeting.numpy().tobytes()[_TOKEN:], state.numpy().tobytes())

    def _swap(
        self, sent: Sequence[Tensor], to: int, places: Sequence[Tensor], source: int, then: Callable[[Tensor], object]
    ) -> None:
        """Send and receive piece by piece, both at once; `then` is called for each piece that has come."""
        for part, place in zip_longest(sent, places):
            receiving = dist.irecv(place, source, group=self._group) if place is not None else None
            sending = dist.isend(part, to, group=self._group) if part is not None else None
            if receiving is not None:
                receiving.wait()
                then(place)
            if sending is not None:
                sending.wait()
                self._pace.wait_for(part.numel())


class _Pace:
    """Keeps what is sent below a speed."""

    def __init__(self, bytes_per_second: float) -> None:
        self._speed, self._free = bytes_per_second, 0.0

    def wait_for(self, size: int) -> None:
        now = time.monotonic()
        self._free = max(self._free, now) + size / self._speed
        if self._free > now:
            time.sleep(self._free - now)


def target_of(rank: int, identity: CopyIdentity) -> int:
    """Return the rank that holds a copy of this one: the same place on the next node."""
    return (rank + identity.processes_per_node) % identity.world_size


def source_of(identity: CopyIdentity) -> int:
    """Return the rank whose copies this one holds."""
    return (identity.rank - identity.processes_per_node) % identity.world_size


def held_paths(folder: Path, rank: int) -> list[Path]:
    """Return the files of the copies of another node's rank."""
    return [peer_path(folder, rank, number) for number in _FILES]


def peer_path(folder: Path, rank: int, number: int) -> Path:
    """Return the file of a copy of another node's rank."""
    return folder / f"peer-{rank}.{number}"


def held_steps(folder: Path, identity: CopyIdentity) -> list[int]:
    """Return the steps of complete copies that are held of a process, whose identity this is."""
    headers = [header_of(path) for path in held_paths(folder, identity.rank)]
    return sorted(header.step for header in headers if header is not None and header.identity == identity)


def _fits(path: Path, end: int) -> bool:
    header = header_of(path)
    return header is not None and header.end == end


def _pieces(content: Tensor) -> tuple[Tensor, ...]:
    return torch.split(content, _PIECE)


def _tensor(content: bytes) -> Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def _ignore(_: Tensor) -> None:
    """A greeting is not part of the copy."""
