"""Links between the reference pages: anchors are key paths and codes in small letters."""

import re
from typing import Final

from neuron_api.schema.key_path import all_paths

CONFIG: Final = "config.md"
FINDINGS: Final = "findings.md"

_PATHS: Final = sorted((path for path, _ in all_paths() if "." in path), key=len, reverse=True)
_MENTIONED: Final = re.compile(rf"(`[^`]*`)|(?<![\w.])({'|'.join(map(re.escape, _PATHS))})(?![\w]|\.\w)")


def anchor(name: str) -> str:
    """What other pages link to, on a line of its own."""
    return f'<a id="{name.lower()}"></a>\n'


def key(path: str, page: str = "", text: str = "") -> str:
    """A link to a key on the page of the configuration; `page` is empty on that page itself."""
    return f"[{text or path}]({page}#{path.lower()})"


def code(number: str, page: str = "") -> str:
    """A link to a code on the page of the findings."""
    return f"[{number}]({page}#{number.lower()})"


def prose(text: str, page: str = "") -> str:
    """A text in which every key path is a link, but for what is in backticks."""
    return _MENTIONED.sub(lambda found: found[1] or key(found[2], page), text)
