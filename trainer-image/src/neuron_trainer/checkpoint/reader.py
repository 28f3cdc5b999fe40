"""Read a checkpoint: which tensors it has, and their values into a run of the same or another split.

The launcher has verified the directory before the ranks start.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load

from neuron_trainer.errors import CheckpointError
from neuron_trainer.parallel import hosts

from . import layout, tensor_index
from .shards import ShardReader, reasons
from .staging import CheckpointTensor
from .targets import Targets

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
