"""Weights from and to the directory format of `transformers`.

Parameter names are the same on both sides, so an exchange is a copy; only a tied head has no tensor of its own.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from torch import Tensor

from neuron_trainer.models import weight_files

from .config import LlamaConfig

_HEAD: Final = "lm_head.weight"


def read(folder: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint directory of `transformers`, by name, on the CPU, in their stored dtype."""
    return weight_files.read(folder)


def write(folder: Path, tensors: Mapping[str, Tensor], config: LlamaConfig) -> None:
    """Write full tensors (not shards) so that `from_pretrained` reads them; `config.json` is the caller's."""
    kept = {k: v for k, v in tensors.items() if not (config.tie_word_embeddings and k == _HEAD)}
    weight_files.write(folder, kept)
