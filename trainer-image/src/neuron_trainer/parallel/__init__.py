"""Parallelism as a plan applied to a plain module; `backend` is the seam (docs/design/002-parallel-backend.md)."""

from .backend import LocalParameter, ParallelBackend, Share

__all__ = ["LocalParameter", "ParallelBackend", "Share"]
