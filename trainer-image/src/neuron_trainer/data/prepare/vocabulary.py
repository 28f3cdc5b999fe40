"""The tokenizer: given as a file or a Hugging Face directory, or learned from the input."""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from neuron_api.findings import error
from neuron_trainer.errors import InputError

from .inputs import documents, is_text, pieces
from .request import Request

log = logging.getLogger(__name__)

END_OF_TEXT: Final = "<|end_of_text|>"
TOKENIZER_FILE: Final = "tokenizer.json"


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A tokenizer of the `tokenizers` library on disk, as every process reads it."""

    file: Path
    size: int
    """One more than the highest id."""
    end_of_text: str | None
    end_id: int | None


def make(request: Request, folder: Path) -> Vocabulary:
    """Write `tokenizer.json` to the folder, unless an earlier start has; raises `InputError`."""
    from tokenizers import Tokenizer

    file = folder / TOKENIZER_FILE
    if not file.exists():
        unfinished = file.with_name(f".{file.name}")
        (_given(request.tokenizer) if request.tokenizer else _learned(request)).save(str(unfinished))
        unfinished.replace(file)
    tokenizer = Tokenizer.from_file(str(file))
    end = request.end_of_text or _own_end(request.tokenizer)
    end_id = tokenizer.token_to_id(end)
    if end_id is None and request.end_of_text is not None:
        raise InputError([error("--end-of-text", f"the tokenizer has no token {end!r}.")])
    size = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1
    return Vocabulary(file, size, end if end_id is not None else None, end_id)


def _given(path: Path) -> Any:
    from tokenizers import Tokenizer

    file = path / TOKENIZER_FILE if path.is_dir() else path
    if not file.is_file():
        raise InputError([error("--tokenizer", f"the directory {path} has no {TOKENIZER_FILE}.",
                                "Save it as a fast tokenizer.")])  # fmt: skip
    try:
        return Tokenizer.from_file(str(file))
    except Exception as problem:  # the library raises nothing narrower
        raise InputError([error("--tokenizer", f"{file} is not a tokenizer: {problem}.")]) from None


def _own_end(path: Path | None) -> str:
    """`eos_token` of a directory's configuration; ours elsewhere."""
    if path is not None and (settings := path / "tokenizer_config.json").is_file():
        token = json.loads(settings.read_text()).get("eos_token")
        name = token.get("content") if isinstance(token, dict) else token
        return str(name or END_OF_TEXT)
    return END_OF_TEXT


def _learned(request: Request) -> Any:
    """A byte-level BPE."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=request.vocab_size or 0,  # one of the two is given
        special_tokens=[request.end_of_text or END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    log.info("learning a vocabulary of %d from %d files", request.vocab_size, len(request.inputs))
    if all(is_text(path) for path in request.inputs):
        tokenizer.train([str(path) for path in request.inputs], trainer)
    else:
        tokenizer.train_from_iterator(_texts(request), trainer)
    return tokenizer


def _texts(request: Request) -> Iterator[str]:
    for path in request.inputs:
        for piece in pieces(path, request.text_key):
            yield from documents(piece)
