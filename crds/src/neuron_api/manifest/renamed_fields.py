"""Renamed fields of a NeuronTrainingJob (docs/upgrade.md), for messages that name the new field."""

import re
from typing import Final

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
