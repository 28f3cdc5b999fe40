"""Reading the shards of one process from a directory of `transformers`.

Each process reads of each tensor what it owns, out of files that are mapped into its memory: no process has the whole
model. Experts that we stack are read from the tensors that `transformers` has for each.
"""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.planner import LoadPlan, LoadPlanner, ReadItem
from torch.futures import Future

from neuron_trainer.models.spec import HFTensor

from .hf_checkpoint import TensorLocation, tensors


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
