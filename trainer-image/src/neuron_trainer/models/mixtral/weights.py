"""Weights from and to the directory format of `transformers`, which has a tensor for each projection of each expert.

`block_sparse_moe.experts.3.w1` is gate_proj[3], `w3` up_proj, `w2` down_proj; of the others only the router's differs.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from neuron_trainer.models import weight_files

from .config import MixtralConfig

_HEAD: Final = "lm_head.weight"
_PROJECTIONS: Final = {"gate_proj": "w1", "up_proj": "w3", "down_proj": "w2"}
_THEIR_ROUTER: Final = ".block_sparse_moe.gate."
_OUR_ROUTER: Final = ".mlp.gate."


def read(folder: Path) -> dict[str, Tensor]:
    """All parameters by our names, on the CPU, in their stored dtype."""
    stored = weight_files.read(folder)
    layers = {match[1] for name in stored if (match := re.match(r"(.+)\.block_sparse_moe\.experts\.0\.w1", name))}
    found = {
        name.replace(_THEIR_ROUTER, _OUR_ROUTER): tensor for name, tensor in stored.items() if ".experts." not in name
    }
    for layer in layers:
        prefix = f"{layer}.block_sparse_moe.experts"
        count = sum(name.startswith(f"{prefix}.") and name.endswith(".w1.weight") for name in stored)
        for ours, theirs in _PROJECTIONS.items():
            each = [stored[f"{prefix}.{expert}.{theirs}.weight"] for expert in range(count)]
            found[f"{layer}.mlp.experts.{ours}"] = torch.stack(each)
    return found


def write(folder: Path, tensors: Mapping[str, Tensor], config: MixtralConfig) -> None:
    """Write full tensors (not shards) so that `from_pretrained` reads them; `config.json` is the caller's."""
    if config.moe.frequency != 1 or not config.moe.is_gated:
        raise ValueError("transformers' Mixtral has gated experts in every layer: this model cannot be written as one")
    kept: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        layer, found, projection = name.partition(".mlp.experts.")
        if found:
            prefix, theirs = f"{layer}.block_sparse_moe.experts", _PROJECTIONS[projection]
            kept |= {f"{prefix}.{i}.{theirs}.weight": one.clone() for i, one in enumerate(tensor)}
        elif not (config.tie_word_embeddings and name == _HEAD):
            kept[name.replace(_OUR_ROUTER, _THEIR_ROUTER)] = tensor
    weight_files.write(folder, kept)
