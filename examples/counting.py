"""A data module of one's own: samples that are computed, not read. Start it with

    PYTHONPATH=examples neuron-train run CONFIG data.data_module=counting:Counting +data.stride=3

In a job: `data_module: counting:Counting` under `spec.config.data`, and the file in the image or on PYTHONPATH.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class Numbers:
    """Sample i begins at token i and goes on in steps of `stride`."""

    labels_are_targets = False  # labels are the tokens themselves: the loader shifts them

    def __init__(self, count: int, length: int, stride: int, vocabulary: int) -> None:
        self._count, self._length, self._stride, self._vocabulary = count, length, stride, vocabulary

    def __len__(self) -> int:
        return self._count

    def take(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """`input_ids` and `labels`, int64 [len(indices), S]; the same for an index whenever it is asked for."""
        starts = torch.tensor(list(indices), dtype=torch.int64)[:, None]
        ids = (starts + torch.arange(self._length) * self._stride) % self._vocabulary
        return {"input_ids": ids, "labels": ids.clone()}


class Counting:
    """Made with the whole configuration; keys of one's own are attributes of `cfg.data`."""

    def __init__(self, cfg: Any) -> None:
        self._stride, self._length = int(cfg.data.stride), cfg.model.encoder_seq_length

    def samples(self, part: str) -> Numbers:
        """More of them for training than for the rest."""
        return Numbers(64 if part == "train" else 16, self._length, self._stride, vocabulary=64)
