"""Write `.bin` and `.idx`: complete under their names, or not there."""

import os
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from neuron_api.findings.finding import error
from neuron_trainer.errors import InputError

from .indexed import IndexedTokens
from .layout import Integers, bin_path, idx_path, index_bytes

_BUFFERED: Final = 1 << 18
"""Tokens that are collected before they are written: one conversion and one write for many documents, by way of a
buffer that stays in the processor's cache."""


class IndexedWriter:
    """Collects documents; the files appear when the block ends without an exception, the index last.

    The index is what a reader opens first and describes the size of the rest, so that tokens without it, or of another
    writer, are never taken for whole.
    """

    def __init__(self, prefix: str | Path, dtype: np.dtype[Any]) -> None:
        self.prefix, self.dtype = Path(prefix), dtype
        self._waiting: list[Integers] = []
        self._waiting_tokens = 0
        self._lengths: list[Integers] = []
        self._single: list[int] = []
        self._buffer = np.empty(2 * _BUFFERED, dtype)
        self._unfinished = bin_path(self.prefix).with_name(f".{bin_path(self.prefix).name}.{os.getpid()}")

    def __enter__(self) -> Self:
        self.prefix.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._unfinished.open("wb")
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._file.close()
            self._unfinished.unlink(missing_ok=True)

    def add(self, tokens: Integers) -> None:
        """One document, 1-D. The array is kept until it is written: do not change it."""
        self._single.append(len(tokens))
        self._collect(tokens)

    def extend(self, tokens: Integers, lengths: Integers) -> None:
        """Many documents back to back, and the tokens of each; the faster way for small ones."""
        self._take_single()
        self._lengths.append(lengths)
        self._collect(tokens)

    def append(self, other: IndexedTokens) -> None:
        """All documents of another prefix."""
        for start in range(0, len(other.tokens), _BUFFERED):
            self.extend(other.tokens[start : start + _BUFFERED], np.empty(0, np.int32))
        self._lengths.append(other.lengths)

    def _take_single(self) -> None:
        """Lengths of documents that came one by one, in their place among the others."""
        self._lengths.append(np.array(self._single, np.int32))
        self._single = []

    def _collect(self, tokens: Integers) -> None:
        self._waiting.append(tokens)
        self._waiting_tokens += len(tokens)
        if self._waiting_tokens >= _BUFFERED:
            self._flush()

    def _flush(self) -> None:
        waiting, count = self._waiting, self._waiting_tokens
        self._waiting, self._waiting_tokens = [], 0
        if not count:
            return
        if count <= len(self._buffer) and all(tokens.dtype == self.dtype for tokens in waiting):
            np.concatenate(waiting, out=self._buffer[:count]).tofile(self._file)
            return
        tokens = waiting[0] if len(waiting) == 1 else np.concatenate(waiting)
        self._converted(tokens).tofile(self._file)

    def _converted(self, tokens: Integers) -> NDArray[Any]:
        """Return the tokens in the file's dtype; raises `InputError` instead of wrapping a number that does not fit."""
        if tokens.dtype != self.dtype and len(tokens):
            limits = np.iinfo(self.dtype)
            low, high = int(tokens.min()), int(tokens.max())
            if low < limits.min or high > limits.max:
                message = f"token id {high if high > limits.max else low} does not fit into {self.dtype.name}."
                raise InputError([error("--tokenizer", message, "Use the tokenizer's whole vocabulary size.")])
        return np.ascontiguousarray(tokens, self.dtype)

    def _finish(self) -> None:
        self._flush()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._take_single()
        lengths = np.concatenate(self._lengths)
        idx_path(self.prefix).unlink(missing_ok=True)  # the old one does not describe the new tokens
        self._unfinished.replace(bin_path(self.prefix))
        unfinished = self._unfinished.with_name(f".{idx_path(self.prefix).name}.{os.getpid()}")
        with unfinished.open("wb") as file:
            file.write(index_bytes(self.dtype, lengths, np.arange(len(lengths) + 1)))
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(idx_path(self.prefix))
