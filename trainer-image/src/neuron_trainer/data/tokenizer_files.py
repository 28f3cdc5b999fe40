"""Where the files of a Hugging Face tokenizer are: a directory, which may hold other things (weights, rows of a data
set), or the hub."""

import re
from pathlib import Path
from typing import Final

TOKENIZER: Final = "tokenizer.json"
CONFIG: Final = "tokenizer_config.json"
_OTHERS: Final = (
    "special_tokens_map.json", "added_tokens.json", "chat_template.jinja", "chat_template.json", "vocab.json",
    "merges.txt", "vocab.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "tekken.json",
)  # fmt: skip
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
