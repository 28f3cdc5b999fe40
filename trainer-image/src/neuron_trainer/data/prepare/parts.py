"""Tokens of each piece, in a file of its own that is whole or absent: an interrupted command does only the rest."""

import logging
import os
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from neuron_trainer.data.megatron.indexed import IndexedTokens
from neuron_trainer.data.megatron.layout import bin_path, idx_path
from neuron_trainer.data.megatron.writer import IndexedWriter
from neuron_trainer.errors import InputError

from .inputs import InputPiece, documents, report_replaced
from .vocabulary import TokenizerFile

log = logging.getLogger(__name__)

_LINES: Final = 10
"""Lines of progress where there is no terminal."""


@dataclass(frozen=True, slots=True)
class TokenFile:
    """A piece and where its tokens go."""

    piece: InputPiece
    prefix: Path
    tokenizer: Path
    end_id: int | None
    dtype: str

    @property
    def is_done(self) -> bool:
        """Whether an earlier start has written it."""
        try:
            IndexedTokens(self.prefix)
        except InputError:
            return False
        return True

    def drop(self) -> None:
        """Its tokens are elsewhere now."""
        idx_path(self.prefix).unlink()
        bin_path(self.prefix).unlink()


def plan(
    pieces: Iterable[InputPiece], folder: Path, vocabulary: TokenizerFile, dtype: np.dtype[Any]
) -> list[TokenFile]:
    """One part for each piece; names follow their order."""
    return [
        TokenFile(piece, folder / f"part-{index:06d}", vocabulary.file, vocabulary.end_id, dtype.name)
        for index, piece in enumerate(pieces)
    ]


def tokenise(parts: list[TokenFile], processes: int) -> None:
    """Write those that are not there yet, showing how far it is; raises `InputError`."""
    left = [part for part in parts if not part.is_done]
    if len(left) < len(parts):
        log.info("going on with %d of %d parts: the others are done", len(left), len(parts))
    if processes == 1 or len(left) < 2:
        _follow(map(write, left), len(parts), len(left))
        return
    # spawn: this process has threads of the tokenizers library
    with ProcessPoolExecutor(min(processes, len(left)), mp_context=get_context("spawn"), initializer=_alone) as pool:
        try:
            _follow(pool.map(write, left), len(parts), len(left))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


class TokenCounts(NamedTuple):
    """What a piece came to."""

    tokens: int
    replaced: int
    """Characters that could not be decoded."""


def write(part: TokenFile) -> TokenCounts:
    """Tokenise one piece."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(part.tokenizer))
    texts, replaced = documents(part.piece)
    encoded = [one.ids for one in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
    if part.end_id is not None:
        for index, ids in enumerate(encoded):
            if part.piece.ends_document or index < len(encoded) - 1:
                ids.append(part.end_id)
    lengths = np.array([len(ids) for ids in encoded], np.int32)
    tokens = np.fromiter(chain.from_iterable(encoded), np.int64, int(lengths.sum()))
    with IndexedWriter(part.prefix, np.dtype(part.dtype)) as writer:
        writer.extend(tokens, lengths)
    return TokenCounts(len(tokens), replaced)


def _alone() -> None:
    """Each process tokenises with one thread."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


def _follow(results: Iterator[TokenCounts], total: int, left: int) -> None:
    """A bar on a terminal, some lines elsewhere; and what was replaced."""
    report = _bar if sys.stderr.isatty() else _lines
    report_replaced(sum(one.replaced for one in report(results, total, left)))


def _lines(results: Iterator[TokenCounts], total: int, left: int) -> Iterator[TokenCounts]:
    done, step, tokens = total - left, max(1, left // _LINES), 0
    for count, found in enumerate(results, 1):
        tokens += found.tokens
        if count % step == 0 or count == left:
            log.info("tokenised %d of %d parts, %d tokens", done + count, total, tokens)
        yield found


def _bar(results: Iterator[TokenCounts], total: int, left: int) -> Iterator[TokenCounts]:
    columns = (TextColumn("tokenising"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=total, completed=total - left)
        for found in results:
            progress.advance(task)
            yield found
