"""Documents of a manifest, separated by `---`, and fields of a NeuronTrainingJob that have been renamed."""

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


RENAMED: Final = {
    "spec.devicesMeaning": "spec.deviceCountScope",
    "spec.ttlDeletes": "spec.ttlDeletionPolicy",
    "status.nodesReady": "status.readyNodes",
    "status.hold": "status.checkpointGate",
    "status.excludedNodes.since": "status.excludedNodes.exclusionTime",
    "status.excludedNodes.until": "status.excludedNodes.expirationTime",
    "status.restarts.rung": "status.restarts.restartScope",
    "status.restarts.lines": "status.restarts.logTail",
    "status.restarts.passedOver": "status.restarts.skippedCheckpoints",
    "status.restarts.podUid": "status.restarts.podUID",
}
"""New path by old path, without list indices."""


def new_name(path: str) -> str | None:
    """Return the new path of an old path or of its last word; None if it is not an old name."""
    plain = re.sub(r"\[\d*\]|\.\d+\b", "", path)
    by_word = (new for old, new in RENAMED.items() if old.rpartition(".")[2] == plain)
    return RENAMED.get(plain) or next(by_word, None)
