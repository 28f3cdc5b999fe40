"""Weights from and to the directory format of `transformers` (`model.safetensors`, one file or an index of shards).

Parameter names are the same on both sides, so an exchange is a copy; only a tied head has no tensor of its own.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from safetensors.torch import load_file, save_file
from torch import Tensor

from .config import LlamaConfig

_SINGLE: Final = "model.safetensors"
_INDEX: Final = "model.safetensors.index.json"
_HEAD: Final = "lm_head.weight"


def read(folder: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint directory of `transformers`, by name, on the CPU, in their stored dtype."""
    index = folder / _INDEX
    files = sorted(set(json.loads(index.read_text())["weight_map"].values())) if index.exists() else [_SINGLE]
    tensors: dict[str, Tensor] = {}
    for name in files:
        tensors |= load_file(folder / name)
    return tensors


def write(folder: Path, tensors: Mapping[str, Tensor], config: LlamaConfig) -> None:
    """Write full tensors (not shards) so that `from_pretrained` reads them; `config.json` is the caller's."""
    kept = {k: v.contiguous() for k, v in tensors.items() if not (config.tie_word_embeddings and k == _HEAD)}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(kept, folder / _SINGLE, metadata={"format": "pt"})
