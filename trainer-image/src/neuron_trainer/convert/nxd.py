"""Upstream's checkpoints (neuronx-distributed), of Llama and Mistral: `model/dp_rank_00_tp_rank_TT_pp_rank_PP.pt`.

A file for each part of tensor and pipeline parallel: a mapping from names to tensors, or with `save_xser` a skeleton of
references with a file for each tensor in `<file>.tensors/`, and their shapes in `<file>.info.pt`. `partition` says what
is in which part. The references are of torch_xla's class, which need not be there to read or write them.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import torch
from torch import Tensor

from neuron_api import contract
from neuron_trainer.checkpoint import reader
from neuron_trainer.errors import CheckpointError
from neuron_trainer.storage import places

from .partition import Partition
from .weights import Weights

_MODULE, _CLASS = "torch_xla.utils.serialization", "TensorReference"
_STARTED: Final = "checkpoint"
_MODEL: Final = "model"


class TensorReference:
    """Stands for the tensor with this number."""

    def __init__(self, tid: int) -> None:
        self.tid = tid


def read(folder: Path, partition: Partition) -> Weights:
    """Full tensors by Hugging Face's names, each joined from its parts when asked for; raises `CheckpointError`."""
    if not (folder / contract.CHECKPOINT_MARKER).is_file() and (folder / _STARTED).is_file():
        raise CheckpointError(f"{folder} has no marker `{contract.CHECKPOINT_MARKER}`: it was never completed")
    parts = {place: _part(_file(folder, *place)) for place in partition.places()}

    def tensor(stage: int, name: str) -> list[Tensor]:
        try:
            return [parts[rank, stage][name]() for rank in range(partition.tensor)]
        except KeyError:
            raise CheckpointError(f"{folder} has no {name}: qkv_linear, fuse_qkv or the split is another") from None

    return partition.join(tensor)


def write(folder: Path, weights: Weights, partition: Partition, *, xser: bool, tell: Callable[[str], None]) -> None:
    """One part at a time is in memory; the marker comes last."""
    places.make(folder / _MODEL)
    places.write(folder / _STARTED, b"1")
    for rank, stage in partition.places():
        part = {name: cut().clone() for name, cut in partition.part(weights, rank, stage).items()}
        file = _file(folder, rank, stage)
        if xser:
            _write_references(file, part)
        else:
            torch.save(part, file)
            places.sync(file)
        tell(file.name)
    places.sync(folder / _MODEL)
    places.write(folder / contract.CHECKPOINT_MARKER, b"1")
    places.sync(folder)


def _file(folder: Path, rank: int, stage: int) -> Path:
    return folder / _MODEL / f"dp_rank_00_tp_rank_{rank:02d}_pp_rank_{stage:02d}.pt"


def _write_references(file: Path, part: Mapping[str, Tensor]) -> None:
    tensors = Path(f"{file}.tensors")
    places.make(tensors)
    info: dict[int, dict[str, Any]] = {}
    for number, tensor in enumerate(part.values()):
        torch.save(tensor, tensors / f"tensor_{number}.pt")
        places.sync(tensors / f"tensor_{number}.pt")
        info[number] = {"dtype": tensor.dtype, "shape": tensor.shape, "expert_model_parallel": False}
    with _their_class():
        torch.save({name: TensorReference(number) for number, name in enumerate(part)}, file)
    torch.save(info, f"{file}.info.pt")


@contextmanager
def _their_class() -> Iterator[None]:
    """Pickled under torch_xla's name, which its own loader looks up."""
    names = [".".join(_MODULE.split(".")[: n + 1]) for n in range(3)]
    before = {name: sys.modules.get(name) for name in names}
    module = ModuleType(_MODULE)
    module.TensorReference = TensorReference  # type: ignore[attr-defined]
    sys.modules.update({name: ModuleType(name) for name in names[:-1]} | {_MODULE: module})
    own, TensorReference.__module__ = TensorReference.__module__, _MODULE
    try:
        yield
    finally:
        TensorReference.__module__ = own
        for name, module_before in before.items():
            if module_before is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module_before


def _part(file: Path) -> dict[str, Callable[[], Tensor]]:
    """Names to tensors of one file; plain ones are mapped and not read."""
    stored = _loaded(file, mmap=True)
    stored = stored["model"] if isinstance(stored, dict) and isinstance(stored.get("model"), dict) else stored
    if not isinstance(stored, dict):
        raise CheckpointError(f"{file} has no tensors by name")
    return {
        name: _tensor_loader(file, value)
        for name, value in stored.items()
        if isinstance(value, Tensor | TensorReference)
    }


def _tensor_loader(file: Path, value: Any) -> Callable[[], Tensor]:
    if isinstance(value, Tensor):
        return lambda: value
    if not isinstance(number := getattr(value, "tid", None), int):
        raise CheckpointError(f"{file} refers to the tensor {number!r}: a number is expected")
    path = Path(f"{file}.tensors") / f"tensor_{number}.pt"

    def load() -> Tensor:
        tensor = _loaded(path)
        if not isinstance(tensor, Tensor):
            raise CheckpointError(f"{path} has no tensor")
        return tensor

    return load


def _loaded(file: Path, *, mmap: bool = False) -> Any:
    """Tensors, plain types and references: what else a file asks for is not looked up."""
    try:
        with torch.serialization.safe_globals([(TensorReference, f"{_MODULE}.{_CLASS}")]):
            return torch.load(file, weights_only=True, mmap=mmap, map_location="cpu")
    except OSError as problem:
        raise CheckpointError(f"{file}: {problem.strerror}: is the split another?") from None
    except Exception as problem:  # a damaged archive raises anything
        raise CheckpointError(f"{file} {reader.refusal(problem)}") from None
