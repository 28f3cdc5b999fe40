"""One copy of one process's state: a file in shared memory, complete or absent.

The header is written last and has a checksum of itself and of what it describes, so a process that is killed in the
middle of a copy leaves nothing that is taken. Pages are reserved when the file is made: a shared memory that is full is
an error of the start, and not a SIGBUS in a later step.
"""

import errno
import json
import mmap
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
import xxhash
from torch import Tensor

from neuron_trainer.checkpoint.staging import CheckpointTensor
from neuron_trainer.errors import CheckpointError

PAGE: Final = 4096
"""Bytes at the beginning of a file: its header."""
_ALIGNMENT: Final = 4096
"""Of each tensor: a page."""
_PIECE: Final = 1 << 20
"""Bytes that are copied and then hashed, while the processor's cache still has them."""
_STATE_ROOM: Final = 1 << 20
"""Bytes that are reserved for the trainer's state; it is some kilobytes, and the first copy that is larger reserves
more."""
_POPULATE: Final = getattr(mmap, "MAP_POPULATE", 0)
"""Maps all pages at once, where the system can: no page fault is left for a step."""


@dataclass(frozen=True, slots=True)
class CopyIdentity:
    """Whose state a copy is; one with any other value is not taken."""

    run_id: str
    config_hash: str
    release: str
    """Of this project."""
    rank: int
    world_size: int
    processes_per_node: int
    accelerator: str


@dataclass(frozen=True, slots=True)
class CopyHeader:
    """What the first page of a complete file says."""

    identity: CopyIdentity
    step: int
    """Optimizer steps done."""
    layout: str
    """Fingerprint of names, shapes and dtypes."""
    end: int
    """Where the tensors end, and the trainer's state begins."""
    state_size: int
    """Bytes of the trainer's state, behind the tensors."""
    checksum: str
    """XXH3 of tensors and state."""


class TensorLayout:
    """Where each tensor lies in a file; the same for all copies of a process."""

    def __init__(self, tensors: Mapping[str, CheckpointTensor]) -> None:
        self.spans: dict[str, tuple[int, int]] = {}
        """By name, where it begins and how many bytes it has."""
        offset = PAGE
        for name, item in tensors.items():
            size = item.local.numel() * item.dtype.itemsize
            self.spans[name] = (offset, size)
            offset += -(-size // _ALIGNMENT) * _ALIGNMENT
        self.end = offset
        """Where the trainer's state begins."""
        described = [(name, list(item.local.shape), str(item.dtype)) for name, item in tensors.items()]
        self.fingerprint = xxhash.xxh3_64_hexdigest(json.dumps(described).encode())

    def view(self, content: Tensor, name: str, item: CheckpointTensor) -> Tensor:
        """Return the part of a mapped file that is a tensor's, as one."""
        begin, size = self.spans[name]
        return content[begin : begin + size].view(item.dtype).view(item.local.shape)


class CopyFile:
    """A file for one copy; it is the launcher's folder's, and outlives the process."""

    def __init__(self, path: Path, end: int, *, keeps: bool) -> None:
        """Reserve the memory; raises `OSError` where there is none. `keeps`: what is in the file may be of use."""
        self.path, self._end = path, end
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not keeps:
            os.ftruncate(self._file, 0)  # of another model: what it has too much is free again
        os.posix_fallocate(self._file, 0, end + _STATE_ROOM)
        os.ftruncate(self._file, self._reserved(keeps=keeps))
        self._mapped = mmap.mmap(self._file, end, mmap.MAP_SHARED | _POPULATE)
        self._content = torch.frombuffer(self._mapped, dtype=torch.uint8)

    def _reserved(self, *, keeps: bool) -> int:
        """Return the bytes that the file keeps: those of a larger copy before it only while that one is of use."""
        header = self.header if keeps else None
        return self._end + max(_STATE_ROOM, header.state_size if header is not None else 0)

    @property
    def header(self) -> CopyHeader | None:
        """Return what the file holds; None where it is not complete."""
        return unpacked(self.page)

    @property
    def page(self) -> bytes:
        """Return the first page."""
        return os.pread(self._file, PAGE, 0)

    @property
    def tensors(self) -> Tensor:
        """Return the bytes of all tensors, with what lies between them."""
        return self._content[PAGE:]

    def state(self, size: int) -> bytes:
        """Return the trainer's state."""
        return os.pread(self._file, size, self._end)

    def clear(self) -> None:
        """Take the header away: the file holds nothing from now on."""
        os.pwrite(self._file, bytes(PAGE), 0)

    def complete(self, page: bytes, state: bytes) -> None:
        """Write the state, then the header: the file is complete when this returns; raises `OSError` where memory for
        the state cannot be reserved."""
        if len(state) > _STATE_ROOM:
            os.posix_fallocate(self._file, self._end, len(state))
        if (written := os.pwrite(self._file, state, self._end)) != len(state):
            raise OSError(errno.ENOSPC, f"{written} of {len(state)} bytes of the state were written", str(self.path))
        os.pwrite(self._file, page, 0)

    def touch(self) -> None:
        """Let the file say that its run lives."""
        os.utime(self._file)


class Slot(CopyFile):
    """A file that a process writes its copies into, one after another."""

    def __init__(self, path: Path, layout: TensorLayout) -> None:
        """Reserve the memory; raises `OSError` where there is none."""
        header = header_of(path)
        super().__init__(path, layout.end, keeps=header is not None and header.layout == layout.fingerprint)
        self._layout = layout

    @torch.no_grad()
    def write(self, identity: CopyIdentity, step: int, tensors: Mapping[str, CheckpointTensor], state: bytes) -> None:
        """Copy tensors and state; the file is complete when this returns, and absent before."""
        self.clear()
        digest, place = xxhash.xxh3_128(), PAGE
        for name, (begin, size) in self._layout.spans.items():
            digest.update(self._content[place:begin].numpy().data)
            view = self._layout.view(self._content, name, tensors[name])
            _copy(view, tensors[name].local.detach(), digest)
            place = begin + size
        digest.update(self._content[place:].numpy().data)
        digest.update(state)
        header = CopyHeader(identity, step, self._layout.fingerprint, self._layout.end, len(state), digest.hexdigest())
        self.complete(packed(header), state)

    def views(self, tensors: Mapping[str, CheckpointTensor]) -> dict[str, Tensor]:
        """Return the copy itself, as tensors."""
        return {name: self._layout.view(self._content, name, item) for name, item in tensors.items()}

    @torch.no_grad()
    def read(self, tensors: Mapping[str, CheckpointTensor]) -> bytes:
        """Fill tensors with the copy in the file and return the trainer's state; raises `CheckpointError`."""
        header = self.header
        if header is None or header.layout != self._layout.fingerprint:
            raise CheckpointError(f"{self.path} has no copy of these tensors")
        state, digest = self.state(header.state_size), xxhash.xxh3_128()
        digest.update(self.tensors.numpy().data)
        digest.update(state)
        if digest.hexdigest() != header.checksum:
            raise CheckpointError(f"{self.path} is corrupt: its checksum is not the one that was written")
        for name, item in tensors.items():
            item.local.copy_(self._layout.view(self._content, name, item))
        return state


def header_of(path: Path) -> CopyHeader | None:
    """Return what a file holds; None where it is not complete, or is no such file."""
    try:
        with path.open("rb") as file:
            return unpacked(file.read(PAGE))
    except OSError:
        return None


def is_intact(path: Path) -> bool:
    """Return whether a complete file has the bytes that its header was written for."""
    header, digest, buffer = header_of(path), xxhash.xxh3_128(), memoryview(bytearray(_PIECE))
    if header is None:
        return False
    remaining = header.end + header.state_size - PAGE
    with path.open("rb", buffering=0) as file:
        file.seek(PAGE)
        while remaining > 0 and (size := file.readinto(buffer[: min(remaining, _PIECE)])):
            digest.update(buffer[:size])
            remaining -= size
    return remaining == 0 and digest.hexdigest() == header.checksum


def clear(path: Path) -> None:
    """Take the header of a file away: it holds nothing from now on."""
    with path.open("r+b", buffering=0) as file:
        file.write(bytes(PAGE))


def _copy(target: Tensor, source: Tensor, digest: Any) -> None:
    """Copy piece by piece, each hashed while it is in the cache; what is not in order in memory is copied at once."""
    if not source.is_cpu or not source.is_contiguous():
        target.copy_(source)
        digest.update(_bytes(target))
        return
    for piece, original in zip(_pieces(target), _pieces(source), strict=True):
        piece.copy_(original)
        digest.update(_bytes(piece))


def _pieces(tensor: Tensor) -> tuple[Tensor, ...]:
    return torch.split(tensor.view(-1), max(1, _PIECE // tensor.element_size())) if tensor.numel() else ()


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.reshape(-1).view(torch.uint8).numpy().data


def packed(header: CopyHeader) -> bytes:
    """Return the first page: a checksum, then the header as JSON."""
    text = json.dumps(asdict(header)).encode()
    page = xxhash.xxh3_64_digest(text) + text
    if len(page) > PAGE:
        raise CheckpointError(f"the header of a copy has {len(page)} bytes, of at most {PAGE}")
    return page.ljust(PAGE, b"\0")


def unpacked(page: bytes) -> CopyHeader | None:
    """Return the header; None where there is none, or one of another release."""
    checksum, text = page[:8], page[8:].rstrip(b"\0")
    if not text or xxhash.xxh3_64_digest(text) != checksum:
        return None
    values = json.loads(text)
    try:
        return CopyHeader(**{**values, "identity": CopyIdentity(**values["identity"])})
    except (TypeError, KeyError):
        return None
