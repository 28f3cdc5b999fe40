"""A directory of `transformers` (see `published`): whole tensors out of it, and a new one."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from neuron_trainer.checkpoint import hf_checkpoint

from .weights import Weights


def read(folder: Path) -> Weights:
    """All tensors; raises `CheckpointError`."""
    return {name: partial(hf_checkpoint.load, stored) for name, stored in hf_checkpoint.tensors(folder).items()}


def write(
    folder: Path, weights: Weights, config: dict[str, Any], shard_bytes: int, tell: Callable[[str], None]
) -> None:
    """Files of at most `shard_bytes` (a tensor that is larger alone), so that `from_pretrained` reads them.

    `tell` is called with the name of each tensor.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / hf_checkpoint.CONFIG).write_text(json.dumps(config, indent=2) + "\n")
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


def _save(folder: Path, held: dict[str, Tensor], parts: list[list[str]]) -> None:
    path = folder / f"part-{len(parts)}.safetensors"
    save_file(held, path, metadata={"format": "pt"})
    shutil.copymode(folder / hf_checkpoint.CONFIG, path)  # the library writes 0600, whatever the umask is
    parts.append(list(held))


def _name(folder: Path, parts: list[list[str]], total: int) -> None:
    """The names that `transformers` gives, which say how many there are."""
    if len(parts) == 1:
        (folder / "part-0.safetensors").rename(folder / hf_checkpoint.SINGLE)
        return
    names = [f"model-{n + 1:05d}-of-{len(parts):05d}.safetensors" for n in range(len(parts))]
    for number, name in enumerate(names):
        (folder / f"part-{number}.safetensors").rename(folder / name)
    weight_map = {tensor: name for name, part in zip(names, parts, strict=True) for tensor in part}
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / hf_checkpoint.INDEX).write_text(json.dumps(index, indent=2) + "\n")
