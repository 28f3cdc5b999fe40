"""Parallelism as a plan applied to a plain module; `backend` is the seam (docs/design/003-parallel-backend.md)."""

from .backend import LocalParameter, ParallelBackend, Share
from .parts import Cut, Statistic, sum_over_parts

__all__ = ["Cut", "LocalParameter", "ParallelBackend", "Share", "Statistic", "sum_over_parts"]
