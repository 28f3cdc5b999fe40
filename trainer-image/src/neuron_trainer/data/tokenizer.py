"""`data.tokenizer`: the numbers that data and model need of a tokenizer, and where its files are.

Those of a Hugging Face tokenizer are in a directory, which may hold other things (weights, rows of a data
set), or on the hub.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from neuron_api.config import TokenizerConfig, TrainingConfig
from neuron_api.findings.finding import Finding, error
from neuron_trainer.errors import InputError

from .paths import expanded, is_directory, is_file

TOKENIZER: Final = "tokenizer.json"
CONFIG: Final = "tokenizer_config.json"
_OTHERS: Final = (
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
)
_VOCABULARIES: Final = (TOKENIZER, "tokenizer.model", "vocab.json", "vocab.txt")
"""Files that a tokenizer cannot do without; one of them is enough."""
_HUB_NAME: Final = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_TIMEOUT: Final = 10.0
"""Seconds for the one question whether the hub answers; its client asks again for minutes."""


def in_directory(folder: Path) -> list[Path]:
    """Return the tokenizer's files; none where the directory has no tokenizer."""
    files = [folder / name for name in (TOKENIZER, CONFIG, *_OTHERS) if (folder / name).is_file()]
    return files if any(path.name in _VOCABULARIES for path in files) else []


def may_be_on_hub(name: str) -> bool:
    """Return whether `name` is of the form `organisation/name`, or an old name without a slash that is in the cache."""
    return _HUB_NAME.fullmatch(name) is not None or _is_cached(name)


def is_hub_reachable() -> bool:
    """Return whether the hub answers, by one try; never with HF_HUB_OFFLINE."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]  # exported when it is asked for

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=_TIMEOUT)
    except Exception:  # of whichever HTTP client the hub's library uses
        return False
    return True


def _is_cached(name: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    try:
        return any(isinstance(try_to_load_from_cache(name, file), str) for file in (TOKENIZER, CONFIG))
    except (OSError, ValueError):  # no name of the hub
        return False


GPT2: Final = "GPT2BPETokenizer"
_GPT2_END: Final = "<|endoftext|>"


@dataclass(frozen=True, slots=True)
class TokenIds:
    """Of one tokenizer."""

    vocabulary: int
    """Tokens that there are, added ones included; not yet padded."""
    end_of_document: int
    padding: int
    """The end of a document's, where the tokenizer has none."""


def load(config: TokenizerConfig | None) -> TokenIds:
    """Read it; raises `InputError`."""
    if config is None:
        raise _fault("", "it is not set; the end of documents is not known.", "Give data.tokenizer.type.")
    if config.library == "sentencepiece":
        return _sentencepiece(config.model)
    if config.type == GPT2:
        return _gpt2(config)
    if not config.type:
        raise _fault(".type", "it is not set.", f"Give a Hugging Face directory or {GPT2}.")
    return _hugging_face(config.type, use_fast=config.use_fast)


def vocabulary(config: TrainingConfig) -> int | None:
    """Size that a Megatron model takes from its tokenizer; None for a model whose config.json has it. Raises
    `InputError`."""
    return load(config.data.tokenizer).vocabulary if config.model_source == "megatron" else None


def _gpt2(config: TokenizerConfig) -> TokenIds:
    if not config.vocab_file or not config.merge_file:
        raise _fault(".vocab_file", f"{GPT2} needs vocab_file and merge_file.", "Give both.")
    for key, path in (("vocab_file", config.vocab_file), ("merge_file", config.merge_file)):
        if not is_file(expanded(path)):
            raise _fault(f".{key}", f"there is no file {path}.")
    try:
        vocabulary: dict[str, int] = json.loads(expanded(config.vocab_file).read_bytes())
        end = vocabulary[_GPT2_END]
    except (ValueError, TypeError):
        raise _fault(".vocab_file", f"{config.vocab_file} is not a JSON mapping of tokens to numbers.") from None
    except KeyError:
        raise _fault(".vocab_file", f"{config.vocab_file} has no {_GPT2_END}.") from None
    return TokenIds(len(vocabulary), end, end)


def _sentencepiece(model: str | None) -> TokenIds:
    """A trained model says its numbers; the library itself is not needed for them."""
    from transformers.convert_slow_tokenizer import import_protobuf

    if model is None:
        raise _fault(".model", "it is not set, and library is sentencepiece.", "Give data.tokenizer.model.")
    proto = import_protobuf().ModelProto()
    try:
        proto.ParseFromString(expanded(model).read_bytes())
    except OSError as problem:
        raise _fault(".model", f"{model} cannot be read: {problem.strerror}.") from None
    except Exception:  # protobuf's own, which derives from nothing narrower
        raise _fault(".model", f"{model} is not a sentencepiece model.") from None
    end, padding = proto.trainer_spec.eos_id, proto.trainer_spec.pad_id
    if not proto.pieces:
        raise _fault(".model", f"{model} is not a sentencepiece model.")
    if end < 0:
        raise _fault(".model", f"{model} has no end-of-text token.", "Train it with an eos_id.")
    return TokenIds(len(proto.pieces), end, padding if padding >= 0 else end)


def hugging_face(config: TokenizerConfig | None) -> Any:
    """The tokenizer itself, for text; raises `InputError`."""
    if config is None or not config.type:
        raise _fault(".type", "it is not set, and records of text need it.", "Give a Hugging Face directory.")
    if config.library == "sentencepiece" or config.type == GPT2:
        raise _fault(".type", "records of text need a Hugging Face tokenizer.", "Give its directory.")
    return _loaded(config.type, use_fast=config.use_fast)


def missing(name: str) -> Finding | None:
    """Return what is wrong with a name that is no directory and cannot be one of the hub."""
    if is_directory(expanded(name)):
        return None
    if not name.startswith((".", "/", "~", "$")) and may_be_on_hub(name):
        return None
    remedy = "Give a Hugging Face tokenizer directory, or a name of the hub (organisation/name)."
    return error("data.tokenizer.type", f"there is no directory {name}.", remedy)


def _hugging_face(name: str, *, use_fast: bool) -> TokenIds:
    tokenizer = _loaded(name, use_fast=use_fast)
    end, padding = tokenizer.eos_token_id, tokenizer.pad_token_id
    return TokenIds(len(tokenizer), end, end if padding is None else padding)


def _loaded(name: str, *, use_fast: bool) -> Any:
    """Return the tokenizer, which has an end of text; raises `InputError`."""
    from transformers import AutoTokenizer  # seconds of imports

    path = expanded(name)
    if (fault := missing(name)) is not None:
        raise InputError([fault])
    is_here = is_directory(path)
    where, is_local = (str(path), True) if is_here else (name, not is_hub_reachable())
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(where, use_fast=use_fast, local_files_only=is_local)
        end = tokenizer.eos_token_id
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as problem:  # whatever a damaged file leads the library to, its Rust half's panics too
        if is_local and not is_here:
            raise _fault(
                ".type",
                f"there is no directory {name}, and the Hugging Face hub cannot be reached for it.",
                f"Give a directory: `hf download {name}` writes one where there is a network.",
            ) from None
        detail = str(problem).splitlines()[0][:200] if str(problem) else type(problem).__name__
        raise _fault(".type", f"{name} is not a tokenizer: {detail}", "Save it with transformers again.") from None
    if end is None:
        place = path / CONFIG if is_here else f"{name}, {CONFIG}"
        raise _fault(".type", f"{place} sets no eos_token.", 'Add "eos_token": "<the token that ends a text>" there.')
    return tokenizer


def _fault(key: str, message: str, remedy: str = "") -> InputError:
    return InputError([error(f"data.tokenizer{key}", message, remedy)])
