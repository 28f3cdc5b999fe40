"""Pairs of answers as tokens (B-13): where the prompt ends in each row, and what is cut off a pair that is too long."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from .chat import ChatTemplate
from .layouts.preferences import ConversationPair, Pair
from .recipe import Recipe
from .tokens import Special, TokenizedRow

Ids = list[int]


class SplitRow(NamedTuple):
    """The tokens of a row before and in the answer."""

    prompt: Ids
    answer: Ids
    is_label: Sequence[bool] | None = None
    """Which tokens of the answer are learned; None: all. What the user says in the middle of one is not."""

    def to_row(self) -> TokenizedRow:
        """Return both parts as one row."""
        row = TokenizedRow.from_parts(self.prompt, self.answer)
        if self.is_label is not None:
            row.is_label[len(self.prompt) :] = self.is_label[: len(self.answer)]
        return row

    @classmethod
    def from_row(cls, row: TokenizedRow) -> "SplitRow":
        """Return a row whose answer begins with its first label."""
        end = int(np.argmax(row.is_label)) if row.is_label.any() else len(row.ids)
        return cls(row.ids[:end].tolist(), row.ids[end:].tolist(), row.is_label[end:].tolist())


def tokenize(pairs: Sequence[Pair], tokenizer: Any, special: Special) -> Iterator[tuple[SplitRow, SplitRow]]:
    """Yield the rows of the chosen and the rejected answer in the order of the pairs, whole."""
    texts = chain.from_iterable((pair.prompt, pair.prompt + pair.chosen, pair.prompt + pair.rejected) for pair in pairs)
    ids = iter(tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"] if pairs else ())
    for prompt, chosen, rejected in zip(ids, ids, ids, strict=True):
        rows = (with_special_tokens(split(prompt, whole), special) for whole in (chosen, rejected))
        yield next(rows), next(rows)


def tokenize_conversations(
    pairs: Sequence[ConversationPair], template: ChatTemplate
) -> Iterator[tuple[SplitRow, SplitRow]]:
    """Yield the same of conversations, as the chat template writes them. Raises `FormatError`."""
    rows = template.tokenize([*chain.from_iterable((pair.chosen, pair.rejected) for pair in pairs)])
    for chosen, rejected in zip(rows, rows, strict=True):
        yield SplitRow.from_row(chosen), SplitRow.from_row(rejected)


def split(prompt: Ids, whole: Ids) -> SplitRow:
    """Divide the tokens of prompt and answer where the prompt ends; `prompt`: its tokens alone.

    Where a token spans both, the prompt gives up its last token, and the answer begins one earlier.
    """
    end = len(prompt) if whole[: len(prompt)] == prompt else len(prompt) - 1
    return SplitRow(whole[:end], whole[end:])


def with_special_tokens(row: SplitRow, special: Special) -> SplitRow:
    """Return the row with BOS before the prompt and EOS behind the answer, where they are missing."""
    begin = [] if special.begin is None or row.prompt[:1] == [special.begin] else [special.begin]
    end = [] if row.answer[-1:] == [special.end] else [special.end]
    return SplitRow([*begin, *row.prompt], [*row.answer, *end])


def truncate(chosen: SplitRow, rejected: SplitRow, recipe: Recipe) -> tuple[SplitRow, SplitRow]:
    """Cut the prompts to `max_prompt_length` tokens, then the answers to the rest, where the longer answer does not
    fit. Both rows are measured by that answer: a short one may lose tokens, too (B-13)."""
    longest = max(len(chosen.answer), len(rejected.answer))
    return _cut(chosen, longest, recipe), _cut(rejected, longest, recipe)


def _cut(row: SplitRow, longest: int, recipe: Recipe) -> SplitRow:
    prompt, answer, limit = row.prompt, row.answer, recipe.max_prompt_length
    if len(prompt) + longest > recipe.length:
        prompt = prompt[:limit] if recipe.truncation_mode == "keep_start" else prompt[-limit:]
    if len(prompt) + longest > recipe.length:
        answer = answer[: recipe.length - limit]
    return row._replace(prompt=prompt, answer=answer)
