"""Where things lie: caches that are kept, state that `down` removes, files of the repository."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

PROJECT = "neuron-training-operator"
HACK = Path(__file__).resolve().parent.parent
REPOSITORY = HACK.parent


def cache_directory() -> Path:
    """Things that cost minutes to make and are the same for every run: built programs, base images."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / PROJECT


def default_state_directory() -> Path:
    """One cluster's state. `NTO_CLUSTER_STATE` chooses another one, for a second cluster beside the first."""
    if chosen := os.environ.get("NTO_CLUSTER_STATE"):
        return Path(chosen).resolve()
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / PROJECT / "cluster"


def fingerprint(*parts: str | bytes) -> str:
    """A short name for content, used as a cache key: 12 hex digits are enough for a handful of entries."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()[:12]
