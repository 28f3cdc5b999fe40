"""`neuron-train data prepare`: text files to a directory that `data.train_dir` can name.

The rows are cut from all documents one after the other, an end-of-text token between two files; every row has exactly
N tokens, the labels are the tokens. The directory appears whole, by one rename, or not at all.
"""

import json
import logging
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

from rich.progress import Progress, track

from neuron_api.contract import ExitCode
from neuron_api.findings import error
from neuron_trainer import logs
from neuron_trainer.errors import InputError

log = logging.getLogger(__name__)

END_OF_TEXT: Final = "<|end_of_text|>"
TOKENIZER_FILE: Final = "tokenizer.json"
_REQUEST_FILE: Final = "prepared.json"
"""What the directory was made from: the same request has nothing to do."""
_LEAST_VOCABULARY: Final = 257
_PIECE: Final = 1 << 20
"""Characters that are tokenised at once, cut at a line's end."""
_ROWS_PER_BATCH: Final = 1024


@dataclass(frozen=True, slots=True)
class Request:
    """The command's arguments."""

    inputs: tuple[Path, ...]
    output: Path
    seq_length: int
    vocab_size: int | None = None
    tokenizer: Path | None = None
    processes: int = 1

    def fingerprint(self) -> dict[str, Any]:
        """Equal for requests with the same result."""
        return {
            "inputs": [_digest(path) for path in self.inputs],
            "seq_length": self.seq_length,
            "vocab_size": self.vocab_size,
            "tokenizer": _digest(self.tokenizer) if self.tokenizer else None,
        }


def main(request: Request) -> int:
    """Run the command; returns an exit code."""
    logs.console()
    try:
        _check(request)
        _prepare(request)
    except InputError as problem:
        log.error("%s", problem)
        return int(ExitCode.CONFIG)
    return int(ExitCode.SUCCESS)


def _check(request: Request) -> None:
    found = [error("--input", f"there is no file {path}.") for path in request.inputs if not path.is_file()]
    if request.tokenizer is None and request.vocab_size is None:
        found.append(error("--vocab-size", "it is not given, nor is --tokenizer.", "Give one of the two."))
    elif request.vocab_size is not None and request.vocab_size < _LEAST_VOCABULARY:
        found.append(error("--vocab-size", f"{request.vocab_size} is less than the 256 bytes and the end of text.",
                           f"Give at least {_LEAST_VOCABULARY}."))  # fmt: skip
    if request.seq_length < 2:
        found.append(error("--seq-length", f"a row of {request.seq_length} tokens predicts nothing.", "Use 2 or more."))
    if request.tokenizer is not None and not request.tokenizer.is_file():
        found.append(error("--tokenizer", f"there is no file {request.tokenizer}."))
    if request.output.exists() and not (request.output / _REQUEST_FILE).exists():
        found.append(
            error("--output", f"{request.output} exists and was not made by this command.", "Use another name.")
        )
    if found:
        raise InputError(found)


def _prepare(request: Request) -> None:
    fingerprint = json.dumps(request.fingerprint(), indent=1)
    made = request.output / _REQUEST_FILE
    if made.exists() and made.read_text() == fingerprint:
        log.info("nothing to do: %s was made with the same arguments from the same text", request.output)
        return
    temporary = request.output.with_name(f".{request.output.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        _write(request, temporary)
        (temporary / _REQUEST_FILE).write_text(fingerprint)
        if request.output.exists():
            shutil.rmtree(request.output)
        temporary.rename(request.output)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write(request: Request, folder: Path) -> None:
    from datasets import Dataset, Features, Sequence, Value

    tokenizer = _tokenizer(request)
    tokenizer.save(str(folder / TOKENIZER_FILE))
    tokens = list(chain.from_iterable(_tokenise(request, str(folder / TOKENIZER_FILE))))
    count = len(tokens) // request.seq_length
    if count == 0:
        raise InputError([error("--seq-length", f"the text has {len(tokens)} tokens, fewer than one row of "
                                f"{request.seq_length}.", "Use more text or shorter rows.")])  # fmt: skip
    kinds = {"input_ids": "int32", "attention_mask": "int8", "labels": "int32"}
    features = Features({name: Sequence(Value(kind), length=request.seq_length) for name, kind in kinds.items()})
    rows = (
        tokens[start : start + request.seq_length] for start in range(0, count * request.seq_length, request.seq_length)
    )
    ones = [1] * request.seq_length
    columns: dict[str, list[list[int]]] = {"input_ids": list(rows), "attention_mask": [ones] * count}
    columns["labels"] = columns["input_ids"]
    Dataset.from_dict(columns, features=features).save_to_disk(str(folder))
    log.info("%s: %d rows of %d tokens, vocabulary %d", request.output, count, request.seq_length,
             tokenizer.get_vocab_size())  # fmt: skip


def _tokenizer(request: Request) -> Any:
    """The given one, or a byte-level BPE learned from the text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    if request.tokenizer is not None:
        return Tokenizer.from_file(str(request.tokenizer))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=request.vocab_size or 0,  # one of the two is given
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    log.info("learning a vocabulary of %d from %d files", request.vocab_size, len(request.inputs))
    tokenizer.train([str(path) for path in request.inputs], trainer)
    return tokenizer


def _tokenise(request: Request, tokenizer: str) -> Iterator[list[int]]:
    pieces = [(tokenizer, str(path), start, end) for path in request.inputs for start, end in _pieces(path)]
    if request.processes == 1:
        for piece in track(pieces, description="tokenising"):
            yield _encode(piece)
        return
    # spawn: the parent has threads of the tokenizers library
    with ProcessPoolExecutor(request.processes, mp_context=get_context("spawn")) as pool, Progress() as progress:
        task = progress.add_task("tokenising", total=len(pieces))
        for encoded in pool.map(_encode, pieces):
            progress.advance(task)
            yield encoded


def _pieces(path: Path) -> list[tuple[int, int]]:
    """Byte ranges of about a megabyte that end after a line; the last one of a file is open."""
    size, start, found = path.stat().st_size, 0, []
    with path.open("rb") as file:
        while start < size:
            file.seek(min(start + _PIECE, size))
            file.readline()
            found.append((start, file.tell()))
            start = file.tell()
    return found


def _encode(piece: tuple[str, str, int, int]) -> list[int]:
    from tokenizers import Tokenizer

    tokenizer_file, path, start, end = piece
    tokenizer = Tokenizer.from_file(tokenizer_file)
    with Path(path).open("rb") as file:
        file.seek(start)
        text = file.read(end - start).decode(errors="replace")
        is_last = not file.read(1)
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    closing = tokenizer.token_to_id(END_OF_TEXT)
    return [*ids, closing] if is_last and closing is not None else ids


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        digest = sha256()
        while chunk := file.read(_PIECE):
            digest.update(chunk)
    return digest.hexdigest()
