"""Documents of a manifest: one file, several Kubernetes objects with `---` between them."""

import re
from collections.abc import Iterator
from itertools import chain
from typing import Final

_SEPARATOR: Final = re.compile(r"^---(?:[ \t\r][^\n]*)?(?:\n|\Z)", re.MULTILINE)
_CONTENT: Final = re.compile(r"^[ \t]*[^\s#]", re.MULTILINE)


def split(text: str) -> Iterator[tuple[int, str]]:
    """Documents with the line that each begins in; empty ones are left out."""
    start, line = 0, 1
    ends = ((found.start(), found.end()) for found in _SEPARATOR.finditer(text))
    for end, following in chain(ends, [(len(text), len(text))]):
        if _CONTENT.search(text, start, end):
            yield line, text[start:end]
        line += text.count("\n", start, following)
        start = following
