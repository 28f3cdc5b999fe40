"""What must not leave a process: passwords in addresses, signatures behind them, and values of keys that hold secrets.

For whatever is written down or sent: the log, a checkpoint's manifest, the configuration in the log directory, an
experiment's parameters. `oc.env` puts values of a Secret into the configuration, so it may hold any of these.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

MASK: Final = "***"
_MIN_LENGTH: Final = 6
"""Of a secret that is looked for in a text: a shorter one is in many words."""
_USER: Final = re.compile(r"(?<=://)(?:[^\s/:'\"]+:[^\s'\"]*|[^\s/'\"]*)@")
"""A user with a password, which may hold `/` and `@`; or a user alone."""
_QUERY: Final = re.compile(r"(?<=[\w/=&-])\?[^\s'\")]+")
_FRAGMENT: Final = re.compile(r"(://[^\s#'\")]+)#[^\s'\")]+")
_KEY: Final = re.compile(
    r"token$|secret|passw(?:or)?d|passphrase|credential|api_?key|(?:access|private)_?key|authorization", re.IGNORECASE
)
_SPECIAL_TOKEN: Final = re.compile(r"(?:bos|eos|pad|unk|sep|cls|mask|image|end|start)_token$", re.IGNORECASE)


def is_secret(key: str) -> bool:
    """Return whether a key's name says that its value is a secret."""
    return bool(_KEY.search(key)) and not _SPECIAL_TOKEN.search(key)


def text(value: str) -> str:
    """Return a text without users, passwords and what follows `?` and `#` in its addresses."""
    return _FRAGMENT.sub(r"\1", _QUERY.sub("", _USER.sub("", value)))


def addresses(value: str) -> str:
    """Return a text, changed only where it has an address: elsewhere a `?` begins no query."""
    return text(value) if "://" in value else value


def message(value: str, environ: Mapping[str, str]) -> str:
    """Return what a library says, without secrets of addresses and of environment variables."""
    secrets = {item for name, item in environ.items() if len(item) >= _MIN_LENGTH and is_secret(name)}
    for secret in sorted(secrets, key=len, reverse=True):
        value = value.replace(secret, MASK)
    return text(value)


def argument(word: str) -> str:
    """Return an argument of a command line, `key=value` or another: without the value of a key that holds a secret."""
    key, equals, _ = word.partition("=")
    return f"{key}={MASK}" if equals and is_secret(key) else addresses(word)


def values(value: Any) -> Any:
    """Return JSON values without secrets: their keys stay, with `***`."""
    if isinstance(value, Mapping):
        return {k: MASK if item and is_secret(str(k)) else values(item) for k, item in value.items()}
    if isinstance(value, list | tuple):
        return [values(item) for item in value]
    return addresses(value) if isinstance(value, str) else value
