"""A directory of `transformers`: config.json and safetensors, in one file or several with an index."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from neuron_trainer.errors import CheckpointError

from .weights import Weights

CONFIG: Final = "config.json"
_SINGLE: Final = "model.safetensors"
_INDEX: Final = "model.safetensors.index.json"


def is_one(folder: Path) -> bool:
    """Whether it has such files."""
    return (folder / _INDEX).is_file() or (folder / _SINGLE).is_file()


def read(folder: Path) -> Weights:
    """All tensors; raises `CheckpointError`."""
    if (folder / _INDEX).is_file():
        files: dict[str, str] = json.loads((folder / _INDEX).read_text())["weight_map"]
    elif (folder / _SINGLE).is_file():
        with safe_open(folder / _SINGLE, "pt") as file:
            files = dict.fromkeys(file.keys(), _SINGLE)
    else:
        raise CheckpointError(f"{folder} has neither {_SINGLE} nor {_INDEX}")
    return {name: _load(folder / file, name) for name, file in files.items()}


def read_config(folder: Path) -> dict[str, Any]:
    """config.json; raises `CheckpointError`."""
    try:
        values: dict[str, Any] = json.loads((folder / CONFIG).read_text())
    except (OSError, ValueError) as problem:
        raise CheckpointError(f"{folder / CONFIG} cannot be read: {problem}") from None
    return values


def write(
    folder: Path, weights: Weights, config: dict[str, Any], shard_bytes: int, tell: Callable[[str], None]
) -> None:
    """Files of at most `shard_bytes` (a tensor that is larger alone), so that `from_pretrained` reads them.

    `tell` is called with the name of each tensor.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts: list[list[str]] = []
    held: dict[str, Tensor] = {}
    total, size = 0, 0
    for name, load in weights.items():
        tensor = load().contiguous()
        nbytes = tensor.numel() * tensor.element_size()
        if held and size + nbytes > shard_bytes:
            _save(folder, held, parts)
            held, size = {}, 0
        held[name] = tensor
        size += nbytes
        total += nbytes
        tell(name)
    _save(folder, held, parts)
    _name(folder, parts, total)
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")


def _save(folder: Path, held: dict[str, Tensor], parts: list[list[str]]) -> None:
    save_file(held, folder / f"part-{len(parts)}.safetensors", metadata={"format": "pt"})
    parts.append(list(held))


def _name(folder: Path, parts: list[list[str]], total: int) -> None:
    """The names that `transformers` gives, which say how many there are."""
    if len(parts) == 1:
        (folder / "part-0.safetensors").rename(folder / _SINGLE)
        return
    names = [f"model-{n + 1:05d}-of-{len(parts):05d}.safetensors" for n in range(len(parts))]
    for number, name in enumerate(names):
        (folder / f"part-{number}.safetensors").rename(folder / name)
    weight_map = {tensor: name for name, part in zip(names, parts, strict=True) for tensor in part}
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / _INDEX).write_text(json.dumps(index, indent=2) + "\n")


def _load(file: Path, name: str) -> Callable[[], Tensor]:
    def load() -> Tensor:
        with safe_open(file, "pt") as opened:
            tensor: Tensor = opened.get_tensor(name)
            return tensor

    return load
