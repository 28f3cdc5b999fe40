"""Load a checkpoint into a run of the same or another split; the directory was verified before the ranks started."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.state_dict_loader import load

from neuron_trainer.errors import CheckpointError

from . import contents, layout
from .shards import ShardReader, reasons

_SHOWN: Final = 5
_MAX_REASON: Final = 300
_STATE: Final = {"epoch": int, "global_step": int, "lr_schedulers": list, "rng": list}
"""What a resume cannot do without."""


def load_tensors(
    folder: Path, wanted: Callable[[Collection[str]], dict[str, Tensor]], files: FileSystemReader | None = None
) -> None:
    """Fill tensors in place; every rank reads only what it owns. `files`: by default of a checkpoint of our own.

    `wanted` gives the tensors to fill, by their names in a checkpoint that has the given ones. One that is not there,
    or has another shape, is an error with its name: nothing is left as it was without a word.
    """
    files = ShardReader(folder) if files is None else files
    stored = {tensor.name: tensor.shape for tensor in contents.tensors(folder, files)}
    tensors = wanted(stored.keys())
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
        load(tensors, storage_reader=files)
    except CheckpointException as problem:
        raise CheckpointError(f"{folder} cannot be loaded: {reasons(problem)}") from problem


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def load_trainer_state(folder: Path) -> dict[str, Any]:
    """Counters, loops, schedule, generators; plain types only, so nothing in the file can run code.

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
    """Of a file that `torch.load` does not take, in one sentence."""
    lines = str(problem).strip().splitlines() or [type(problem).__name__]
    reason = next((line for line in lines if "GLOBAL" in line or "Unsupported" in line), lines[0]).strip()
    return f"cannot be read ({reason[:_MAX_REASON]}). Nothing of it was run; use another checkpoint"
