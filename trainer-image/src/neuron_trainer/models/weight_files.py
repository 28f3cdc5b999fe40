"""Weights from and to a directory of `transformers`: `model.safetensors`, one file or an index of several."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from safetensors.torch import load_file, save_file
from torch import Tensor

_SINGLE: Final = "model.safetensors"
_INDEX: Final = "model.safetensors.index.json"


def read(folder: Path) -> dict[str, Tensor]:
    """All tensors by name, on the CPU, in their stored dtype."""
    index = folder / _INDEX
    files = sorted(set(json.loads(index.read_text())["weight_map"].values())) if index.exists() else [_SINGLE]
    tensors: dict[str, Tensor] = {}
    for name in files:
        tensors |= load_file(folder / name)
    return tensors


def write(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Full tensors (not shards), so that `from_pretrained` reads them; `config.json` is the caller's."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(whole, folder / _SINGLE, metadata={"format": "pt"})
