"""What a reference model needs of a data set: what tells it from others, and its samples with log-probabilities."""

from collections.abc import Sequence
from typing import Final

import torch
import xxhash
from torch import Tensor

from .samples import Samples

_CHUNK: Final = 256
"""Samples that are read at once."""


def fingerprint(samples: Samples) -> str:
    """Return the digest, in hex. Samples may have a faster one of their own, a method of this name."""
    own = getattr(samples, "fingerprint", None)
    if callable(own):
        return str(own())
    digest = xxhash.xxh3_128()
    for first in range(0, len(samples), _CHUNK):
        batch = samples.take(range(first, min(first + _CHUNK, len(samples))))
        for name in sorted(batch):
            digest.update(f"{name} {tuple(batch[name].shape)}".encode())
            digest.update(batch[name].to(torch.int64).contiguous().numpy().tobytes())
    return digest.hexdigest()


class ReferencedSamples:
    """Pairs by number with `reference_log_probs`, [len(indices), 2]: they belong to a sample, wherever it comes in
    an order. See `Samples`."""

    def __init__(self, samples: Samples, table: Tensor) -> None:
        """`table`: [n, 2] for the first n samples; no other is taken."""
        self._samples, self._table = samples, table
        self.labels_are_targets = samples.labels_are_targets

    def __len__(self) -> int:
        return len(self._samples)

    def take(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """See `Samples`."""
        return {**self._samples.take(indices), "reference_log_probs": self._table[list(indices)]}
