"""Read a checkpoint: which tensors it has, and their values into a run of the same or another split.

The launcher has verified the directory before the ranks start.

It is loaded into the run's own tensors on the CPU; for a device into host memory, and from there each tensor with one
copy, whatever it was split over when it was saved.

`HFReader` reads the shards of one process from a directory of `transformers`. Each process reads of each tensor what it
owns, out of files that are mapped into its memory: no process has the whole model. Experts that we stack are read from
the tensors that `transformers` has for each.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import safe_open
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.planner import LoadPlan, LoadPlanner, ReadItem
from torch.distributed.checkpoint.state_dict_loader import load
from torch.futures import Future

from neuron_trainer.errors import CheckpointError
from neuron_trainer.models.spec import HFTensor
from neuron_trainer.parallel import hosts

from . import layout, tensor_index
from .hf_checkpoint import TensorLocation, tensors
from .shards import ShardReader, reasons
from .staging import CheckpointTensor


class HFReader(FileSystemReader):
    """Such a directory to `torch.distributed.checkpoint`: ours as `model.<name>`, of a stack each row a chunk."""

    def __init__(
        self, folder: Path, names: Mapping[str, HFTensor], stored: Mapping[str, TensorLocation] | None = None
    ) -> None:
        """`stored`: the tensors by the names that are looked up; by default those of the directory."""
        super().__init__(folder)
        stored = tensors(folder) if stored is None else stored
        self._stored = {
            f"model.{name}": [stored[hf_name] for hf_name in theirs.names]
            for name, theirs in names.items()
            if all(hf_name in stored for hf_name in theirs.names)
        }
        self._stacks = {f"model.{name}" for name, theirs in names.items() if theirs.is_stack}

    def set_up_storage_reader(self, *_: Any, **__: Any) -> None:
        """There is no index but ours."""

    def read_metadata(self, *_: Any, **__: Any) -> Metadata:
        """See torch's."""
        return Metadata({name: self._described(name) for name in self._stored})

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Future[None]:
        """The slices that the plan asks for, file by file; cast to the dtype of what they are for."""
        by_file: dict[Path, list[tuple[str, ReadItem, tuple[slice, ...]]]] = defaultdict(list)
        for item in plan.items:
            location, part = self._source(item)
            by_file[location.file].append((location.name, item, part))
        for file, items in by_file.items():
            with safe_open(file, "pt") as opened:
                for name, item, part in items:
                    target = planner.resolve_tensor(item).detach()
                    target.copy_(opened.get_slice(name)[part].view(target.shape))
                    planner.commit_tensor(item, target)
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def _described(self, name: str) -> TensorStorageMetadata:
        first, count = self._stored[name][0], len(self._stored[name])
        if name not in self._stacks:
            whole, chunks = first.shape, [ChunkStorageMetadata(_zeros(first.shape), torch.Size(first.shape))]
        else:
            whole, row = (count, *first.shape), torch.Size((1, *first.shape))
            chunks = [ChunkStorageMetadata(torch.Size((n, *_zeros(first.shape))), row) for n in range(count)]
        return TensorStorageMetadata(TensorProperties(first.dtype), torch.Size(whole), chunks)

    def _source(self, item: ReadItem) -> tuple[TensorLocation, tuple[slice, ...]]:
        index: MetadataIndex = item.storage_index
        part = tuple(slice(n, n + k) for n, k in zip(item.storage_offsets, item.lengths, strict=True))
        if index.fqn not in self._stacks:
            return self._stored[index.fqn][0], part
        assert index.offset is not None
        return self._stored[index.fqn][index.offset[0]], part[1:]


def _zeros(shape: tuple[int, ...]) -> torch.Size:
    return torch.Size([0] * len(shape))


class Targets:
    """The tensors of a run that are to be filled."""

    def __init__(self, tensors: Mapping[str, CheckpointTensor]) -> None:
        self._copies = [
            (torch.empty(item.local.shape, dtype=item.local.dtype), item.local)
            if not item.local.is_cpu
            else (item.local, item.local)
            for item in tensors.values()
        ]
        self.placed: dict[str, Tensor] = {
            name: item.placed(host) for (name, item), (host, _) in zip(tensors.items(), self._copies, strict=True)
        }
        """What torch.distributed.checkpoint fills, by name, in host memory."""

    @torch.no_grad()
    def fill(self) -> None:
        """Copy what was loaded to the device; nothing to do on the CPU."""
        for host, local in self._copies:
            if host is not local:
                local.copy_(host)
        self._copies.clear()


_MAX_NAMES: Final = 5
_MAX_REASON: Final = 300
_STATE: Final = {"epoch": int, "global_step": int, "lr_schedulers": list, "rng": list}
"""What a resume cannot do without."""


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor of a checkpoint, whatever it was split over."""

    name: str
    """`model.<parameter>` or `optim.<parameter>.<state>`."""
    shape: tuple[int, ...]
    dtype: str
    size: int
    """Bytes of the whole tensor."""


def tensor_entries(folder: Path, files: FileSystemReader | None = None) -> list[StoredTensor]:
    """Return the tensors by name, from the index alone; raises `CheckpointError`.

    `files`: by default of a checkpoint of our own.
    """
    index = _index(folder, ShardReader(folder) if files is None else files).state_dict_metadata
    tensors = []
    for name, entry in sorted(index.items()):
        if isinstance(entry, TensorStorageMetadata):
            dtype = entry.properties.dtype
            size = entry.size.numel() * dtype.itemsize
            tensors.append(StoredTensor(name, tuple(entry.size), str(dtype).removeprefix("torch."), size))
    return tensors


def shard_sizes(folder: Path) -> dict[str, int]:
    """Return the bytes that each shard of a checkpoint of our own must have, by name; raises `CheckpointError`."""
    return tensor_index.files(_index(folder, ShardReader(folder)))


def _index(folder: Path, files: FileSystemReader) -> Metadata:
    try:
        return files.read_metadata()
    except OSError as problem:
        raise CheckpointError(f"{folder} has no index of tensors that can be read: {problem}") from None


def load_tensors(
    folder: Path,
    select: Callable[[Collection[str]], Mapping[str, CheckpointTensor]],
    files: FileSystemReader | None = None,
) -> None:
    """Fill tensors in place; every rank reads only what it owns. `files`: by default of a checkpoint of our own.

    `select` returns the tensors to fill, by their names in a checkpoint that has the names it is called with. Raises
    `CheckpointError` with the name of one that is missing or has another shape: no tensor silently keeps its value.
    """
    files = ShardReader(folder) if files is None else files
    stored = {tensor.name: tensor.shape for tensor in tensor_entries(folder, files)}
    targets = Targets(select(stored.keys()))
    tensors = targets.placed
    missing = [name for name in tensors if name not in stored]
    wrong = [
        f"{name}: {list(stored[name])} there, {list(tensor.shape)} here"
        for name, tensor in tensors.items()
        if name in stored and stored[name] != tuple(tensor.shape)
    ]
    if missing or wrong:
        what = [f"it has no {_some(missing)}"] * bool(missing) + [f"shapes differ ({_some(wrong)})"] * bool(wrong)
        raise CheckpointError(
            f"{folder} does not fit this run: {'; '.join(what)}. Use the model and the optimizer that it was written "
            "with, or begin with its weights alone (model.weight_init_only)"
        )
    try:
        load(tensors, storage_reader=files, process_group=hosts.group())
    except CheckpointException as problem:
        raise CheckpointError(f"{folder} cannot be loaded: {reasons(problem)}") from problem
    targets.fill()


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return ", ".join(names[:_MAX_NAMES]) + more


def load_trainer_state(folder: Path) -> dict[str, Any]:
    """Return counters, loops, schedule and generators; plain types only, so nothing in the file can run code.

    Raises `CheckpointError` where the file is damaged, holds anything else, or lacks what a resume needs.
    """
    path = folder / layout.TRAINER_STATE
    try:
        with path.open("rb") as file:
            state: Any = torch.load(file, weights_only=True, map_location="cpu")
    except OSError as problem:
        raise CheckpointError(f"{path} cannot be read: {problem.strerror or problem}") from None
    except Exception as problem:  # a damaged archive raises anything
        raise CheckpointError(f"{path} {refusal(problem)}") from None
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} is not the state of a trainer: it holds a {type(state).__name__}")
    for key, kind in _STATE.items():
        if not isinstance(state.get(key), kind):
            raise CheckpointError(f"{path} is not the state of a trainer: it has no {key}")
    return state


def refusal(problem: Exception) -> str:
    """Return in one sentence why `torch.load` does not read a file."""
    lines = str(problem).strip().splitlines() or [type(problem).__name__]
    reason = next((line for line in lines if "GLOBAL" in line or "Unsupported" in line), lines[0]).strip()
    return f"cannot be read ({reason[:_MAX_REASON]}). Nothing of it was run; use another checkpoint"
