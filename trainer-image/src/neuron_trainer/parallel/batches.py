"""A replica's samples of a global batch as micro-batches, this process's part of each sample; pairs as rows."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from typing import Final

import torch
from torch import Tensor

from neuron_trainer.models.spec import Part

from .backend import Batch
from .schedule import MicroBatch, Targets

_OF_ROWS: Final = ("input_ids", "labels", "position_ids", "document_ids")
"""What a batch has for each token."""


def micro_batches(batch: Batch, size: int, part: Part) -> list[MicroBatch]:
    """Return micro-batches of so many samples or pairs."""
    rows = size
    targets: Iterable[Targets]
    if batch["labels"].dim() == 3:
        rows, references = 2 * size, batch.get("reference_log_probs")
        batch = {name: pair_rows(batch[name], size) for name in _OF_ROWS if name in batch}
        targets = map(
            Targets, _split(batch["labels"], rows), repeat(None) if references is None else _split(references, size)
        )
    else:
        targets = map(Targets, _split(batch["labels"], rows))
    further: Mapping[str, Sequence[Tensor]] = {}
    if "position_ids" in batch:
        further = {**further, "positions": _split(part.cut(batch["position_ids"]), rows)}
    if "document_ids" in batch:
        further = {**further, "documents": _split(batch["document_ids"], rows)}
    ids = _split(part.cut(batch["input_ids"]), rows)
    return [
        MicroBatch(own, target, {name: values[index] for name, values in further.items()})
        for index, (own, target) in enumerate(zip(ids, targets, strict=True))
    ]


def _split(values: Tensor, size: int) -> Sequence[Tensor]:
    """Return the parts of so many rows; all of them as they are where that is one part, which costs nothing."""
    return (values,) if len(values) == size else torch.split(values, size)


def part(total: int, rank: int, size: int) -> Part:
    """Process `rank`'s part of a sample of `total` tokens, a multiple of `size`."""
    length = total // size
    return Part(rank * length, length, total)


def pair_rows(values: Tensor, pairs: int) -> Tensor:
    """[n, 2, S] to [2n, S], in micro-batches of so many pairs, and so of twice as many rows."""
    return values.view(-1, pairs, 2, *values.shape[2:]).transpose(1, 2).flatten(0, 2)


def pair_columns(values: Tensor, pairs: int) -> Tensor:
    """[2n], in the order of `pair_rows`, to [n, 2]."""
    return values.view(-1, 2, pairs).transpose(1, 2).reshape(-1, 2)
