"""What a loader reads from: samples by number, in an order that no split of the work changes."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Samples(Protocol):
    """A data set. Reading sample i costs the same wherever the one before was."""

    labels_are_targets: bool
    """Whether `labels[:, t]` is the target of the output at t. If not, it is the token at t, and the loader shifts."""

    def __len__(self) -> int: ...

    def take(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """`input_ids` and `labels`, int64 [len(indices), S]; a label of -100 does not count.

        Optional, of the same shape and type: `position_ids`; `document_ids`, which differ between tokens that must not
        see each other.
        """
        ...
