"""This trainer's own checkpoints: reading full tensors out of shards, and writing weights without a run."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.planner import WriteItem
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from neuron_api import contract
from neuron_trainer.checkpoint import layout, reader
from neuron_trainer.checkpoint.lora.entry import AdapterEntry
from neuron_trainer.checkpoint.manifest import Manifest
from neuron_trainer.checkpoint.shards import ShardReader, ShardWriter
from neuron_trainer.checkpoint.tensors import MASTER
from neuron_trainer.models.family import Family
from neuron_trainer.storage import places

from .weights import Weights

_PREFIX = "model."


def read(folder: Path, *, masters: bool = False) -> Weights:
    """The model's tensors by their names in the model; `masters`: as the optimizer updates them."""
    entries = {tensor.name: tensor for tensor in reader.tensor_entries(folder)}
    weights: dict[str, Callable[[], Tensor]] = {}
    for name in entries:
        if name.startswith(_PREFIX):
            own = name.removeprefix(_PREFIX)
            master = f"optim.{own}.{MASTER}"
            weights[own] = partial(_load, folder, entries[master if masters and master in entries else name])
    return weights


def _load(folder: Path, stored: reader.StoredTensor) -> Tensor:
    tensor = torch.empty(stored.shape, dtype=getattr(torch, stored.dtype))
    with _alone():
        load({stored.name: tensor}, storage_reader=ShardReader(folder), no_dist=True)
    return tensor


def shapes(family: Family) -> dict[str, torch.Size]:
    """The parameters of the model, a shared one once."""
    return {name: parameter.shape for name, parameter in family.on_meta().named_parameters()}


def write(
    folder: Path,
    weights: Weights,
    shapes: Mapping[str, torch.Size],
    family: Family,
    dtype: torch.dtype,
    tell: Callable[[str], None],
) -> None:
    """A checkpoint of weights alone: `resume_from_checkpoint` begins with it. One tensor at a time is in memory."""
    _write(folder, weights, shapes, family, dtype, tell, None)


def write_adapters(
    folder: Path, weights: Weights, entry: AdapterEntry, family: Family, tell: Callable[[str], None]
) -> None:
    """A checkpoint of adapters alone, for `load_lora_from_ckpt`."""
    shapes = {name: load().shape for name, load in weights.items()}
    dtype = next(iter(weights.values()))().dtype
    _write(folder, weights, shapes, family, dtype, tell, entry)


def _write(
    folder: Path,
    weights: Weights,
    shapes: Mapping[str, torch.Size],
    family: Family,
    dtype: torch.dtype,
    tell: Callable[[str], None],
    entry: AdapterEntry | None,
) -> None:
    layout.remove(folder)
    places.make(folder)
    placeholders = {_PREFIX + name: torch.empty(1, dtype=dtype).expand(shape) for name, shape in shapes.items()}
    writer = ShardWriter(folder)
    with _alone():
        save(placeholders, storage_writer=writer, planner=_Lazy(weights, shapes, dtype, tell), no_dist=True)
    manifest = Manifest(
        step=0,
        epoch=0,
        consumed_samples=0,
        global_batch_size=0,
        config_hash="",
        family=family.kind,
        architecture=asdict(family.config),
        topology={},
        precision="",
        dtype=str(dtype).removeprefix("torch."),
        time=datetime.now(UTC),
        metrics={},
        weights_only=True,
        adapters=entry,
        files=writer.entries,
    )
    places.write(folder / contract.CHECKPOINT_MANIFEST, manifest.model_dump_json(indent=1).encode())
    layout.mark_complete(folder)


@contextmanager
def _alone() -> Iterator[None]:
    """torch warns that there is one process, also where it is told so."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield


class _Lazy(DefaultSavePlanner):
    """Loads each tensor when it is written."""

    def __init__(
        self, weights: Weights, shapes: Mapping[str, torch.Size], dtype: torch.dtype, tell: Callable[[str], None]
    ) -> None:
        super().__init__()
        self._weights, self._shapes, self._dtype, self._tell = weights, shapes, dtype, tell

    def resolve_data(self, write_item: WriteItem) -> Any:
        """See torch's."""
        name = str(write_item.index.fqn).removeprefix(_PREFIX)
        tensor = self._weights[name]().to(self._dtype).contiguous()
        if tensor.shape != self._shapes[name]:
            raise ValueError(f"{name} has shape {list(tensor.shape)}, the model {list(self._shapes[name])}")
        self._tell(name)
        return tensor
