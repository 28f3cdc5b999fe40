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
        """Return whether an earlier start has written it."""
        try:
            IndexedTokens(self.prefix)
        except InputError:
            return False
        return True

    def drop(self) -> None:
        """Remove it: its tokens are elsewhere now."""
        idx_path(self.prefix).unlink()
        bin_path(self.prefix).unlink()


def plan(
    pieces: Iterable[InputPiece], folder: Path, vocabulary: TokenizerFile, dtype: np.dtype[Any]
) -> list[TokenFile]:
    """Return one part for each piece; names follow their order."""
    return [
        TokenFile(piece, folder / f"part-{index:06d}", vocabulary.file, vocabulary.end_id, dtype.name)
        for index, piece in enumerate(pieces)
    ]


def tokenise(parts: list[TokenFile], processes: int) -> None:
    """Write those that do not exist yet, and show how far it is; raise `InputError`."""
    remaining = [part for part in parts if not part.is_done]
    if len(remaining) < len(parts):
        log.info("going on with %d of %d parts: the others are done", len(remaining), len(parts))
    if processes == 1 or len(remaining) < 2:
        _follow(map(write, remaining), len(parts), len(remaining))
        return
    # spawn: this process has threads of the tokenizers library
    count, context = min(processes, len(remaining)), get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context, initializer=_use_one_thread) as pool:
        try:
            _follow(pool.map(write, remaining), len(parts), len(remaining))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


class TokenCounts(NamedTuple):
    """The result of a piece."""

    tokens: int
    replaced: int
    """Characters that could not be decoded."""


def write(part: TokenFile) -> TokenCounts:
    """Tokenise one piece."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(part.tokenizer))
    texts, replaced = documents(part.piece)
    encoded = [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
    if part.end_id is not None:
        for index, ids in enumerate(encoded):
            if part.piece.ends_document or index < len(encoded) - 1:
                ids.append(part.end_id)
    lengths = np.array([len(ids) for ids in encoded], np.int32)
    tokens = np.fromiter(chain.from_iterable(encoded), np.int64, int(lengths.sum()))
    with IndexedWriter(part.prefix, np.dtype(part.dtype)) as writer:
        writer.extend(tokens, lengths)
    return TokenCounts(len(tokens), replaced)


def _use_one_thread() -> None:
    """Let each process tokenise with one thread."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


def _follow(results: Iterator[TokenCounts], total: int, remaining: int) -> None:
    """Show a bar on a terminal, some lines elsewhere; then log what was replaced."""
    report = _bar if sys.stderr.isatty() else _lines
    report_replaced(sum(counts.replaced for counts in report(results, total, remaining)))


def _lines(results: Iterator[TokenCounts], total: int, remaining: int) -> Iterator[TokenCounts]:
    done, step, tokens = total - remaining, max(1, remaining // _LINES), 0
    for count, counts in enumerate(results, 1):
        tokens += counts.tokens
        if count % step == 0 or count == remaining:
            log.info("tokenised %d of %d parts, %d tokens", done + count, total, tokens)
        yield counts


def _bar(results: Iterator[TokenCounts], total: int, remaining: int) -> Iterator[TokenCounts]:
    columns = (TextColumn("tokenising"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=total, completed=total - remaining)
        for counts in results:
            progress.advance(task)
            yield counts
