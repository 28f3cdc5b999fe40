"""The data module of our own trainer in this benchmark: samples that take a while, as steps of a device would.

It is where a configuration may bring code: it also says which process is which rank, and dies in a save when asked.
"""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .trainer import SEQUENCE, VOCABULARY, die_if_asked


class Samples:
    """Rows drawn from their number; each batch takes `pace` seconds."""

    labels_are_targets = False

    def __init__(self, count: int, pace: float) -> None:
        self._count, self._pace = count, pace

    def __len__(self) -> int:
        return self._count

    def take(self, indices: Sequence[int]) -> dict[str, Tensor]:
        time.sleep(self._pace)
        rows = [tokens(index) for index in indices]
        ids = torch.stack(rows)
        return {"input_ids": ids, "labels": ids.clone()}


def tokens(index: int) -> Tensor:
    """Return the sample of a number."""
    return torch.randint(0, VOCABULARY, (SEQUENCE,), generator=torch.Generator().manual_seed(index))


class Paced:
    """Made with the whole configuration."""

    def __init__(self, cfg: Any) -> None:
        self._pace, self._folder = float(cfg.data.pace), Path(cfg.data.folder)
        if rank := os.environ.get("RANK"):
            (self._folder / f"pid-{rank}").write_text(str(os.getpid()))
            self._die_in_saves()

    def samples(self, part: str) -> Samples:
        return Samples(100_000 if part == "train" else 16, self._pace)

    def _die_in_saves(self) -> None:
        from neuron_trainer.checkpoint import shards

        plain, folder = shards.HashingFile.write, self._folder

        def write(file: shards.HashingFile, data: Any) -> int:
            written = plain(file, data)
            die_if_asked(folder)
            return written

        shards.HashingFile.write = write  # type: ignore[method-assign]
