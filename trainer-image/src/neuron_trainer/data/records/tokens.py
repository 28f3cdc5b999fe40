"""Tokens of a record, and the rows of questions and answers (B-13): BOS, input, output, EOS, the last two learned."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .layouts.tuning import Record


class TokenizedRow(NamedTuple):
    """The tokens of a record, or of one answer of a pair."""

    ids: NDArray[np.int32]
    is_label: NDArray[np.bool_]
    """Whether a token is learned; of the same length."""

    @classmethod
    def from_parts(cls, prompt: Sequence[int], answer: Sequence[int]) -> "TokenizedRow":
        """Return a row whose answer is learned."""
        ids = np.fromiter((*prompt, *answer), np.int32)
        return cls(ids, np.arange(len(ids)) >= len(prompt))

    def first(self, length: int) -> "TokenizedRow":
        """Return its first tokens."""
        return TokenizedRow(self.ids[:length], self.is_label[:length])

    def has_target(self) -> bool:
        """Return whether something is learned: the first token of a row is nobody's target."""
        return bool(self.is_label[1:].any())


class Special(NamedTuple):
    """Token ids around a record."""

    begin: int | None
    """None: the tokenizer has none."""
    end: int
    padding: int

    @classmethod
    def from_tokenizer(cls, tokenizer: Any) -> "Special":
        """Return what the tokenizer says; padding is the end of text where it has none."""
        end, padding = tokenizer.eos_token_id, tokenizer.pad_token_id
        return cls(tokenizer.bos_token_id, end, end if padding is None else padding)


def tokenize(records: Sequence[Record], tokenizer: Any, special: Special) -> Iterator[TokenizedRow]:
    """Yield the rows in the order of the records, whole."""
    if not records:
        return
    begin = [] if special.begin is None else [special.begin]
    inputs, outputs = (
        tokenizer([getattr(record, name) for record in records], add_special_tokens=False, verbose=False)["input_ids"]
        for name in ("input", "output")
    )
    for question, answer in zip(inputs, outputs, strict=True):
        yield TokenizedRow.from_parts([*begin, *question], [*answer, special.end])
