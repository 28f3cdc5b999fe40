"""Threads of a process for a checkpoint: copies, writes and checksums leave the interpreter, so they add up."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Final, TypeVar

T = TypeVar("T")

_MOST: Final = 4
"""More would take cores from training, and wait for the memory."""


def available() -> int:
    """This process's share of the node's cores, at least 1 and at most 4. The launcher says how many share them."""
    sharers = max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    return max(1, min(_MOST, len(os.sched_getaffinity(0)) // sharers))


class Threads:
    """Some threads that are kept, the caller among them."""

    def __init__(self, count: int) -> None:
        self._others = count - 1
        self._pool = ThreadPoolExecutor(self._others, "checkpoint") if self._others else None

    def each(self, work: Callable[[T], object], items: Iterable[T]) -> None:
        """`work` on every item; each thread takes the next when it is done with one.

        Returns when all have ended; raises an error of one of them.
        """
        left = iter(list(items))

        def take() -> None:
            for item in left:  # the next of a list's iterator is one step of the interpreter
                work(item)

        others = [self._pool.submit(take) for _ in range(self._others)] if self._pool is not None else []
        try:
            take()
        finally:
            wait(others)
        for other in others:
            other.result()
