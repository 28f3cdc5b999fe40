"""Load a checkpoint into a run of the same or another split; the directory was verified before the ranks started."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.state_dict_loader import load

from . import layout


def load_tensors(folder: Path, tensors: dict[str, Tensor]) -> None:
    """Fill `tensors` in place; every rank reads only what it owns."""
    load(tensors, storage_reader=FileSystemReader(folder))


def load_trainer_state(folder: Path) -> dict[str, Any]:
    """Counters, loops, schedule, generators; plain types only, so nothing in the file can run code."""
    state: dict[str, Any] = torch.load(folder / layout.TRAINER_STATE, weights_only=True)
    return state
