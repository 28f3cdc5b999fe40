"""`sequential_move_factor`: so many processes of a node make their weights at once, and the others wait."""

import json
import os
import time
from itertools import pairwise
from pathlib import Path

import pytest

from . import ranks
from .ranks import GLOO_TIMEOUT

pytestmark = pytest.mark.distributed


@pytest.mark.parametrize(("world", "per_node", "at_once"), [(3, 3, 1), (4, 2, 1), (4, 4, 3)])
def test_no_more_of_a_node_work_at_once_than_asked(world: int, per_node: int, at_once: int, tmp_path: Path) -> None:
    ranks.run(_rank, world, tmp_path, per_node, at_once)
    spans = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(world)]
    for node in range(0, world, per_node):
        own = spans[node : node + per_node]
        for start, _ in own:
            assert sum(begun <= start < ended for begun, ended in own) <= at_once
        turns = [own[first : first + at_once] for first in range(0, per_node, at_once)]
        for earlier, later in pairwise(turns):
            assert max(ended for _, ended in earlier) <= min(begun for begun, _ in later), "by local rank"


def _rank(rank: int, world: int, folder: Path, per_node: int, at_once: int) -> None:
    import torch.distributed as dist

    from neuron_trainer.parallel.turns import staggered

    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=world, timeout=GLOO_TIMEOUT)

    def work() -> int:
        begun = time.monotonic()
        sum(range(10**6))  # long enough to overlap with another's, if they could
        (folder / f"{rank}.json").write_text(json.dumps((begun, time.monotonic())))
        return rank

    assert staggered(work, per_node, at_once) == rank
    dist.destroy_process_group()
