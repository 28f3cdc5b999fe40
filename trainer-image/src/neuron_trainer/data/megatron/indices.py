"""Which tokens a sample has (B-16): documents shuffled, laid end to end, cut into windows, shuffled.

Element for element Megatron's (`tests/data/oracles`), with its helper's loop over samples as arithmetic on arrays: the
time is that of drawing the permutations.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_SEPARATE: Final = 0.80
"""A last epoch that gives less than this part of its samples is shuffled apart."""


@dataclass(frozen=True, slots=True)
class IndexSpec:
    """What an index is for."""

    length: int
    """Tokens of a sample, S."""
    samples: int | None
    """At least so many; None: those of one epoch."""
    seed: int
    extra: int = 1
    """Tokens that a sample shares with the next: 1, or 0 for no_seqlen_plus_one_input_tokens."""
    keeps_rest: bool = False
    """Keep the last window of the last epoch even if it is not full."""


@dataclass(frozen=True, slots=True)
class Indices:
    """The three arrays of one part of one data set."""

    document: NDArray[Any]
    """int32 [documents * epochs]: documents in the order in which they are laid end to end."""
    sample: NDArray[Any]
    """int32 or int64 [samples + 1, 2]: position in `document` and offset in that document where a window begins."""
    shuffle: NDArray[Any]
    """uint32 or int64 [samples]: the window that is read as i-th."""


def build(lengths: NDArray[np.int32], documents: range, wish: IndexSpec) -> Indices:
    """Build the indices from the lengths of all documents, and those that belong to the part; these must have 2 tokens
    or more."""
    chosen = np.arange(documents.start, documents.stop, dtype=np.int32)
    per_epoch = int(lengths[documents.start : documents.stop].sum(dtype=np.int64))
    epochs = _epochs(per_epoch, wish)
    first_part = _samples_before_last(per_epoch, epochs, wish)
    random = np.random.RandomState(wish.seed)
    document = _documents(chosen, epochs, first_part is not None, random)
    sample = _samples(lengths, document, epochs * per_epoch, wish)
    return Indices(document, sample, _shuffle(len(sample) - 1, first_part, random))


def _epochs(per_epoch: int, wish: IndexSpec) -> int:
    """The fewest that have the tokens for all samples."""
    needed = (wish.samples or 0) * wish.length + wish.extra
    return max(1, -(-needed // per_epoch))


def _samples_before_last(per_epoch: int, epochs: int, wish: IndexSpec) -> int | None:
    """Samples of all epochs but the last, if the last one is to be shuffled apart."""
    if epochs == 1 or wish.samples is None:
        return None
    before = ((epochs - 1) * per_epoch - wish.extra) // wish.length
    of_one = (per_epoch - wish.extra) // wish.length
    return before if wish.samples - before < int(_SEPARATE * of_one) else None


def _documents(
    chosen: NDArray[np.int32], epochs: int, is_separate: bool, random: np.random.RandomState
) -> NDArray[np.int32]:
    parts = (epochs - 1, 1) if is_separate else (epochs,)
    drawn = [np.tile(chosen, part) for part in parts]
    for documents in drawn:
        random.shuffle(documents)
    return np.concatenate(drawn) if is_separate else drawn[0]


def _samples(lengths: NDArray[np.int32], document: NDArray[np.int32], tokens: int, wish: IndexSpec) -> NDArray[Any]:
    """Window i begins at token i*S of all, in the document that holds token i*S + extra - 1.

    Documents that end before that token are those in whose tokens at most i windows have begun, and how many have begun
    is a division. Arrays are reused where they can be: for 200,000 documents fresh memory costs more than arithmetic.
    """
    windows, rest = divmod(tokens - wish.extra, wish.length)
    ends = lengths[document].astype(np.int64)
    np.cumsum(ends, out=ends)
    # i*S + extra - 1 < end  <=>  i < (end - extra) // S + 1
    begun = ends - wish.extra
    begun //= wish.length
    begun += 1
    position = np.cumsum(np.bincount(begun)[: windows + 1])
    at = document[position]
    offset = np.arange(windows + 1, dtype=np.int64) * wish.length - (ends[position] - lengths[at])
    kind = np.int32 if max(len(document), int(lengths.max())) <= np.iinfo(np.int32).max else np.int64
    sample: NDArray[Any] = np.empty((windows + 1, 2), kind)
    sample[:, 0], sample[:, 1] = position, offset
    sample[0] = 0
    if wish.keeps_rest and rest:
        end = [[len(document) - 1, lengths[document[-1]] - wish.extra]]
        sample = np.concatenate([sample, np.array(end, kind)])
    return sample


def _shuffle(samples: int, first_part: int | None, random: np.random.RandomState) -> NDArray[Any]:
    kind = np.uint32 if samples < np.iinfo(np.uint32).max - 1 else np.int64
    order = np.arange(samples, dtype=kind)
    if first_part is None or first_part == samples:
        random.shuffle(order)
        return order
    for part in (order[:first_part], order[first_part:]):
        random.shuffle(part)
    return order
