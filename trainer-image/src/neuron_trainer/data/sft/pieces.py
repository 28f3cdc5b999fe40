"""Records as tokens (B-13): BOS, input, output, EOS; what belongs to the input has no label."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from .records import Record

_AT_ONCE = 1000
"""Records that the tokenizer is given at once: it has threads of its own."""


class TokenizedRecord(NamedTuple):
    """One record."""

    ids: list[int]
    asked: int
    """Tokens at the beginning without a label."""


class Special(NamedTuple):
    """Token ids around a record."""

    begin: int | None
    """None: the tokenizer has none."""
    end: int
    padding: int

    @classmethod
    def of(cls, tokenizer: Any) -> "Special":
        """As the tokenizer says; padding is the end of text where it has none."""
        end, padding = tokenizer.eos_token_id, tokenizer.pad_token_id
        return cls(tokenizer.bos_token_id, end, end if padding is None else padding)


def tokenize(records: Sequence[Record], tokenizer: Any, special: Special) -> Iterable[TokenizedRecord]:
    """In the order of the records, whole."""
    begin = [] if special.begin is None else [special.begin]
    for start in range(0, len(records), _AT_ONCE):
        some = records[start : start + _AT_ONCE]
        asked, answered = (
            tokenizer([getattr(one, name) for one in some], add_special_tokens=False)["input_ids"]
            for name in ("input", "output")
        )
        for question, answer in zip(asked, answered, strict=True):
            yield TokenizedRecord([*begin, *question, *answer, special.end], len(begin) + len(question))
