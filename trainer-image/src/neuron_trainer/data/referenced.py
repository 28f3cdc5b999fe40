"""Samples with the log-probabilities of a reference model."""

from collections.abc import Sequence

from torch import Tensor

from .samples import Samples


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
