"""Checkpoints of a run, read as whole tensors: what is compared has gone through the placements of the state, too."""

from pathlib import Path

import torch
from torch import Tensor
from torch.distributed.checkpoint import FileSystemReader
from torch.distributed.checkpoint import load as load_whole
from torch.distributed.checkpoint.metadata import TensorStorageMetadata


def checkpoint(log_dir: Path, step: int) -> Path:
    """The one of a step; the file name is `{step}`."""
    [found] = (log_dir / "checkpoints").glob(f"step={step}.ckpt")
    return found


def tensors(checkpoint: Path) -> dict[str, Tensor]:
    """By name."""
    reader = FileSystemReader(checkpoint)
    entries = reader.read_metadata().state_dict_metadata
    found: dict[str, Tensor] = {
        name: torch.full(entry.size, torch.nan)
        for name, entry in entries.items()
        if isinstance(entry, TensorStorageMetadata)
    }
    load_whole(found, storage_reader=reader, no_dist=True)
    return found


def assert_equal(found: Path, wanted: Path) -> None:
    """Two checkpoints, to 1e-5 of the largest element of each tensor."""
    theirs, ours = tensors(wanted), tensors(found)
    assert set(ours) == set(theirs)
    for name, want in theirs.items():
        atol = 1e-5 * want.abs().max().item()
        difference = (ours[name] - want).abs().max().item()
        assert difference <= atol, name
