"""From rows of tokens to what a model is given: inputs, targets, and where documents end."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neuron_trainer.data.samples import IGNORED

from .sets import PADDING, TokenSet


@dataclass(frozen=True, slots=True)
class SampleForm:
    """What of the documents' ends is to be seen."""

    length: int
    """S."""
    end_of_document: int | None = None
    """Token id; needed by the three that follow."""
    masks_loss_at_end: bool = False
    resets_positions: bool = False
    resets_attention: bool = False


class MegatronSamples:
    """See `neuron_trainer.data.samples.Samples`."""

    labels_are_targets = True

    def __init__(self, tokens: TokenSet, form: SampleForm) -> None:
        self.tokens, self.form = tokens, form

    def __len__(self) -> int:
        return len(self.tokens)

    def take(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """`input_ids` and `labels` int64 [n, S], and the optional fields of `Samples` that the form asks for."""
        rows = self.tokens.windows(np.asarray(indices, np.int64))
        arrays = fields(rows, self.form, has_padding=self.tokens.has_padding)
        return {name: torch.from_numpy(values) for name, values in arrays.items()}


def fields(rows: NDArray[np.int64], form: SampleForm, *, has_padding: bool = False) -> dict[str, NDArray[np.int64]]:
    """Return the fields of windows [n, S + 1], or [n, S], whose last target is unknown and ignored; changes `rows`."""
    inputs = rows[:, : form.length]
    arrays = {"input_ids": inputs, "labels": _targets(rows, inputs, form, has_padding)}
    if form.resets_positions or form.resets_attention:
        documents = _documents(inputs, form.end_of_document)
        if form.resets_positions:
            arrays["position_ids"] = _positions(documents)
        if form.resets_attention:
            arrays["document_ids"] = documents
    return arrays


def _targets(
    rows: NDArray[np.int64], inputs: NDArray[np.int64], form: SampleForm, has_padding: bool
) -> NDArray[np.int64]:
    """The next tokens; ignored where there is none, or where the input ends a document and the form says so."""
    is_short = rows.shape[1] == form.length
    if not (has_padding or is_short or form.masks_loss_at_end):
        return rows[:, 1:]
    targets = np.full_like(inputs, IGNORED)
    targets[:, : rows.shape[1] - 1] = rows[:, 1:]
    if has_padding:
        targets[targets == PADDING] = IGNORED
        inputs[inputs == PADDING] = 0
    if form.masks_loss_at_end:
        targets[inputs == form.end_of_document] = IGNORED
    return targets


def _documents(inputs: NDArray[np.int64], end: int | None) -> NDArray[np.int64]:
    """Number of the document that a token belongs to, from 0 in each row; the end token belongs to the one it ends."""
    numbers = np.zeros_like(inputs)
    np.cumsum(inputs[:, :-1] == end, axis=1, out=numbers[:, 1:])
    return numbers


def _positions(documents: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, … in each document."""
    places = np.broadcast_to(np.arange(documents.shape[1]), documents.shape)
    begins = np.zeros_like(documents)
    begins[:, 1:] = np.where(np.diff(documents, axis=1) != 0, places[:, 1:], 0)
    positions: NDArray[np.int64] = places - np.maximum.accumulate(begins, axis=1)
    return positions
