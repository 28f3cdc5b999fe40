"""Parallelism as a plan applied to a plain module (docs/design/003-parallel-backend.md).

`backend` is the protocol that loop, preflight and checkpoints speak, `registry` has what implements it.
"""

from .backend import BackendProvider, LocalParameter, Outcome, ParallelBackend, Share
from .parts import Cut, Statistic, sum_over_parts
from .registry import backends, create, provider, select

__all__ = [
    "BackendProvider",
    "Cut",
    "LocalParameter",
    "Outcome",
    "ParallelBackend",
    "Share",
    "Statistic",
    "backends",
    "create",
    "provider",
    "select",
    "sum_over_parts",
]
