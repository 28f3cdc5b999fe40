"""The Hugging Face hub: whether a tokenizer of a name may come from there."""

import re
from typing import Final

from .tokenizer_files import CONFIG, TOKENIZER

_NAME: Final = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_TIMEOUT: Final = 10.0
"""Seconds for the one question whether the hub answers; its client asks again for minutes."""


def may_have(name: str) -> bool:
    """Whether `name` has the form `organisation/name`, or is an old one without a slash that was loaded before."""
    return _NAME.fullmatch(name) is not None or _is_cached(name)


def is_reachable() -> bool:
    """One try; never with HF_HUB_OFFLINE."""
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
