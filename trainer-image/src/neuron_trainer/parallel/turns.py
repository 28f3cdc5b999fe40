"""Turns of a node's processes: only so many make their weights at once, since each needs a whole tensor for a while
(B-17)."""

from collections.abc import Callable
from datetime import timedelta
from typing import Final, TypeVar

import torch.distributed as dist

T = TypeVar("T")

_BOUND: Final = timedelta(hours=1)
"""For all turns before one's own; a process that ends is noticed at once."""


def staggered(work: Callable[[], T], processes_per_node: int, at_once: int) -> T:
    """`work()`, when it is this process's turn on its node; a collective of all processes if there are several turns.

    `at_once`: `sequential_move_factor`. Local ranks 0 to at_once-1 are first, on every node.
    """
    turns = -(-processes_per_node // at_once)
    if turns == 1:
        return work()
    own = dist.get_rank() % processes_per_node // at_once
    group = dist.new_group(backend="gloo", timeout=_BOUND)
    assert isinstance(group, dist.ProcessGroup), "of all processes"
    results = []
    for turn in range(turns):
        if turn == own:
            results.append(work())
        dist.barrier(group)
    dist.destroy_process_group(group)
    [result] = results
    return result
