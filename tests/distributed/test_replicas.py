"""Replicas that share nothing but samples: what DistributedDataParallel must not change."""

import os
import warnings
from pathlib import Path

import pytest
import yaml

from neuron_api.loading.loader import load_text

from . import ranks
from .ranks import GLOO_TIMEOUT
from .tiny import MODEL, SEQUENCE, VOCABULARY, config

pytestmark = [pytest.mark.distributed, pytest.mark.usefixtures("backend")]

WORLD = 3
"""Of two processes a sum has no order."""


def test_a_step_has_the_same_bits_however_many_came_before_it(tmp_path: Path) -> None:
    """Else a restart would not give the losses of the unbroken run: buckets may not be arranged anew on the way."""
    ranks.run(_rank, WORLD, tmp_path)
    said = [(tmp_path / f"stderr-{rank}").read_text() for rank in range(WORLD)]
    assert [text for text in said if "find_unused_parameters" in text] == [], "a user cannot act on it"


def _rank(rank: int, world: int, folder: Path) -> None:
    import torch
    import torch.distributed as dist

    from neuron_api.platform.topology import Topology
    from neuron_trainer import parallel
    from neuron_trainer.models.family import Family

    os.dup2(os.open(folder / f"stderr-{rank}", os.O_WRONLY | os.O_CREAT), 2)  # C++ writes to the descriptor
    warnings.simplefilter("error")  # pytest's own filters do not reach a process of its own
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=world, timeout=GLOO_TIMEOUT)
    values = config(
        folder, folder, trainer__devices=world, trainer__num_nodes=1, data__global_batch_size=world * 2,
        data__micro_batch_size=1,
        distributed_strategy={"zero1": False, "tensor_model_parallel_size": 1, "sequence_parallel": False},
    )  # fmt: skip
    typed = load_text(yaml.safe_dump(values)).config
    assert typed is not None
    backend = parallel.create(typed, Topology.from_config(typed, world), torch.device("cpu"))
    backend.build(
        Family.from_json({**MODEL, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4}, typed)
    )
    ids = torch.randint(0, VOCABULARY, (world * 2, SEQUENCE), generator=torch.Generator().manual_seed(3))
    own = ids.chunk(world)[backend.share.rank]
    steps = []
    for step in range(3):
        backend.accumulate({"input_ids": own, "labels": own})
        backend.finish_gradients()
        steps.append([one.leaf.grad.clone() for one in backend.parameters() if one.leaf.grad is not None])
        backend.end_step(step + 1)
    dist.destroy_process_group()
    assert all(torch.equal(one, first) for later in steps[1:] for one, first in zip(later, steps[0], strict=True))
