"""Documents of a manifest: several Kubernetes objects in one file, separated by `---`."""

import re
from collections.abc import Iterator
from itertools import chain
from typing import Final

_SEPARATOR: Final = re.compile(r"^---(?:[ \t\r][^\n]*)?(?:\n|\Z)", re.MULTILINE)
_CONTENT: Final = re.compile(r"^[ \t]*[^\s#]", re.MULTILINE)


def split(text: str) -> Iterator[tuple[int, str]]:
    """Yield the documents with the line that each begins in; empty ones are skipped."""
    start, line = 0, 1
    ends = ((match.start(), match.end()) for match in _SEPARATOR.finditer(text))
    for end, following in chain(ends, [(len(text), len(text))]):
        if _CONTENT.search(text, start, end):
            yield line, text[start:end]
        line += text.count("\n", start, following)
        start = following
