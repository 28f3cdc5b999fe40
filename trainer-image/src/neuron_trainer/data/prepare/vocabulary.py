"""The tokenizer: given as a file or a Hugging Face directory, or learned from the input."""

import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Final

from neuron_api.findings.finding import error
from neuron_trainer.data.formats.detection import Form
from neuron_trainer.data.tokenizer import CONFIG, TOKENIZER, in_directory
from neuron_trainer.errors import InputError

from .inputs import InputFile, documents, pieces
from .request import PrepareRequest

log = logging.getLogger(__name__)

END_OF_TEXT: Final = "<|end_of_text|>"
TOKENIZER_FILE: Final = TOKENIZER
CONFIG_FILE: Final = CONFIG


@dataclass(frozen=True, slots=True)
class TokenizerFile:
    """A tokenizer of the `tokenizers` library on disk, as every process reads it."""

    file: Path
    size: int
    """One more than the highest id."""
    end_of_text: str | None
    end_id: int | None


def make(request: PrepareRequest, sources: Sequence[InputFile], folder: Path) -> TokenizerFile:
    """Write `tokenizer.json` to the folder, unless an earlier start has; raises `InputError`."""
    from tokenizers import Tokenizer

    file = folder / TOKENIZER_FILE
    if not file.exists():
        unfinished = file.with_name(f".{file.name}")
        (_load(request.tokenizer) if request.tokenizer else _learned(request, sources)).save(str(unfinished))
        unfinished.replace(file)
    tokenizer = Tokenizer.from_file(str(file))
    end = request.end_of_text or _own_end(request.tokenizer)
    end_id = tokenizer.token_to_id(end)
    if end_id is None and request.end_of_text is not None:
        raise InputError([error("--end-of-text", f"the tokenizer has no token {end!r}.")])
    if end_id is None:
        log.warning("the tokenizer has no token %r: nothing separates documents. Give --end-of-text.", end)
    size = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1
    return TokenizerFile(file, size, end if end_id is not None else None, end_id)


def _load(path: Path) -> Any:
    from tokenizers import Tokenizer

    file = path / TOKENIZER_FILE if path.is_dir() else path
    if not file.is_file():
        message = f"the directory {path} has no {TOKENIZER_FILE}."
        raise InputError([error("--tokenizer", message, "Save it as a fast tokenizer.")])
    try:
        return Tokenizer.from_file(str(file))
    except Exception as problem:  # the library raises nothing narrower
        raise InputError([error("--tokenizer", f"{file} is not a tokenizer: {problem}.")]) from None


def _own_end(path: Path | None) -> str:
    """Return `eos_token` of a directory's configuration; ours elsewhere."""
    if path is not None and (settings := path / CONFIG_FILE).is_file():
        try:
            token = json.loads(settings.read_bytes())["eos_token"]
        except KeyError:
            return END_OF_TEXT
        except (ValueError, TypeError, RecursionError) as problem:
            raise InputError([error("--tokenizer", f"{settings} is not a JSON object: {problem}.")]) from None
        name = token.get("content") if isinstance(token, dict) else token
        return str(name or END_OF_TEXT)
    return END_OF_TEXT


def write_directory(vocabulary: TokenizerFile, source: Path | None, folder: Path) -> None:
    """Write the tokenizer as a Hugging Face directory, which `data.tokenizer.type` can name: the files of the directory
    that it comes from (`source`), or `tokenizer.json` with a configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(vocabulary.file, folder / TOKENIZER_FILE)
    if source is not None and (source / CONFIG_FILE).is_file():
        for path in in_directory(source):
            shutil.copyfile(path, folder / path.name)
        return
    settings: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    if vocabulary.end_of_text is not None:
        settings["eos_token"] = vocabulary.end_of_text
    (folder / CONFIG_FILE).write_text(json.dumps(settings, indent=2) + "\n")


def _learned(request: PrepareRequest, sources: Sequence[InputFile]) -> Any:
    """Learn a byte-level BPE."""
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
    tokenizer.train_from_iterator(_texts(sources), trainer)
    return tokenizer


def _texts(sources: Sequence[InputFile]) -> Iterator[str]:
    """Yield whole records; of a text its lines, each with its end."""
    for source in sources:
        for piece in pieces(source):
            for text in documents(piece).texts:
                yield from StringIO(text, newline="\n") if source.form is Form.TEXT else [text]
