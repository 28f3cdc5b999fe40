"""What a loader reads from: samples by number, in an order that no split of the work changes; and the check of their
tokens against the model's vocabulary. Orders of the samples in an epoch: functions of the seed and the place alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from neuron_trainer.errors import TokenError

Part = Literal["train", "validation", "test"]
FOLDER: Final[Mapping[Part, str]] = {"train": "train_dir", "validation": "val_dir", "test": "test_dir"}
"""The key of `data` that names a part's directory or file."""
IGNORED: Final = -100
"""A label that does not count."""


class Samples(Protocol):
    """A data set. Reading sample i costs the same whatever was read before."""

    labels_are_targets: bool
    """Whether `labels[..., t]` is the target of the output at t. If not, it is the token at t, and the loader
    shifts."""

    def __len__(self) -> int: ...

    def take(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """Return `input_ids` and `labels`, int64 [len(indices), S]; a label of -100 does not count.

        A pair of answers is one sample: both are then [len(indices), 2, S], row 0 the chosen and row 1 the rejected
        one. Optional, of the same shape and type: `position_ids`; `document_ids`, which differ between tokens that must
        not see each other.
        """
        ...


@dataclass(frozen=True, slots=True)
class TokenBounds:
    """The token ids that a batch may have.

    They are checked before they reach the model: split over processes it would take an id outside for token 0.
    """

    size: int
    """Of the model's vocabulary."""
    key: str
    """Where the data is configured."""

    def check(self, batch: dict[str, Tensor], samples: Sequence[int], step: int) -> None:
        """Check `input_ids` and `labels`, int64 [len(samples), S] or, of pairs, [len(samples), 2, S]; raises
        `TokenError` for the first wrong sample."""
        ids, labels = batch["input_ids"], batch["labels"]
        smallest, largest = map(int, torch.aminmax(ids))
        least, most = map(int, torch.aminmax(labels))
        if smallest >= 0 and largest < self.size and most < self.size and (least >= 0 or self._are_labels(labels)):
            return
        is_wrong = (ids < 0) | (ids >= self.size) | (labels >= self.size) | ((labels < 0) & (labels != IGNORED))
        first = tuple(is_wrong.nonzero()[0].tolist())
        token = int(ids[first])
        fault = f"token {token}" if not 0 <= token < self.size else f"label {int(labels[first])}"
        answer = f", {('chosen', 'rejected')[first[1]]}," if len(first) > 2 else ""
        rank = dist.get_rank() if dist.is_initialized() else 0
        raise TokenError(
            f"rank {rank}, step {step}: {self.key}: sample {samples[first[0]]}{answer} has {fault} at place "
            f"{first[-1]}; the model's vocabulary is {self.size}. Use the tokenizer that belongs to the model."
        )

    def _are_labels(self, labels: Tensor) -> bool:
        return bool(((labels >= 0) | (labels == IGNORED)).all())


class SampleOrder(Protocol):
    """The order of samples in each epoch."""

    def at(self, epoch: int, places: range) -> Sequence[int]:
        """Return the samples at these places of an epoch, which counts from 0."""
        ...


class Single:
    """The order of the data set, in every epoch (`dataloader_type: single`, and rows by default)."""

    def at(self, epoch: int, places: range) -> Sequence[int]:  # noqa: ARG002
        """See `SampleOrder`."""
        return places


class Cyclic:
    """A permutation for each epoch, drawn from seed + epoch (`dataloader_type: cyclic`, `shuffle_rows`)."""

    def __init__(self, samples: int, seed: int) -> None:
        self._samples, self._seed = samples, seed
        self._drawn: tuple[int, torch.Tensor] | None = None

    def at(self, epoch: int, places: range) -> Sequence[int]:
        """See `SampleOrder`; the permutation is drawn once per epoch."""
        if self._drawn is None or self._drawn[0] != epoch:
            generator = torch.Generator().manual_seed(self._seed + epoch)
            self._drawn = epoch, torch.randperm(self._samples, generator=generator)
        samples: list[int] = self._drawn[1][places.start : places.stop : places.step].tolist()
        return samples
