"""Token ids that the model has no row for, told before they reach it: split over processes it would take them for 0."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
import torch.distributed as dist
from torch import Tensor

from neuron_trainer.errors import TokenError

IGNORED: Final = -100
"""A label that does not count."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What a batch may hold."""

    size: int
    key: str
    """Where the data is configured."""

    def check(self, batch: dict[str, Tensor], samples: Sequence[int], step: int) -> None:
        """`input_ids` and `labels` int64 [len(samples), S]; raises `TokenError` for the first sample that is wrong."""
        ids, labels = batch["input_ids"], batch["labels"]
        smallest, largest = map(int, torch.aminmax(ids))
        least, most = map(int, torch.aminmax(labels))
        if smallest >= 0 and largest < self.size and most < self.size and (least >= 0 or self._are_labels(labels)):
            return
        is_wrong = (ids < 0) | (ids >= self.size) | (labels >= self.size) | ((labels < 0) & (labels != IGNORED))
        row, place = is_wrong.nonzero()[0].tolist()
        token = ids[row, place].item()
        found = f"token {token}" if not 0 <= token < self.size else f"label {labels[row, place].item()}"
        rank = dist.get_rank() if dist.is_initialized() else 0
        raise TokenError(
            f"rank {rank}, step {step}: {self.key}: sample {samples[row]} has {found} at place {place}; the model's "
            f"vocabulary is {self.size}. Use the tokenizer that belongs to the model."
        )

    def _are_labels(self, labels: Tensor) -> bool:
        return bool(((labels >= 0) | (labels == IGNORED)).all())
