"""Which weights a directory holds, in a few hundred bits: an adapter belongs to one base.

A checkpoint of ours has the checksums of its files. A directory of `transformers` has none, and reading 140 GB at each
start would take minutes: there the headers are hashed, which name every tensor, and samples of each file, which any
training changes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import xxhash

from neuron_trainer.storage.files import json_dumps

from . import hf_checkpoint
from .manifest import read

_SAMPLES: Final = 16
"""Of a file, at even distances."""
_SAMPLE: Final = 1 << 16
"""Bytes."""


def weights(folder: Path) -> str:
    """Return that of a checkpoint of ours or of a directory of `transformers`; raises `CheckpointError`."""
    digest = xxhash.xxh3_128()
    if hf_checkpoint.is_hf_checkpoint(folder):
        for file in hf_checkpoint.files(folder):
            digest.update(file.name.encode())
            for part in _samples(file):
                digest.update(part)
    else:
        for name, entry in sorted(read(folder).files.items()):
            digest.update(f"{name} {entry.size} {entry.xxh128}\n".encode())
    return digest.hexdigest()


def drawn(family: str, architecture: Mapping[str, object], seed: int) -> str:
    """Return that of initial weights, which follow from the model and the seed."""
    return xxhash.xxh3_128_hexdigest(json_dumps([family, dict(architecture), seed]).encode())


def _samples(file: Path) -> list[bytes]:
    size = file.stat().st_size
    with file.open("rb") as opened:
        header = int.from_bytes(opened.read(8), "little")
        opened.seek(0)
        parts = [str(size).encode(), opened.read(min(8 + header, size))]
        for number in range(_SAMPLES):
            opened.seek(size * number // _SAMPLES)
            parts.append(opened.read(_SAMPLE))
    return parts
