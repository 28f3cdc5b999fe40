"""Dropout of processes that hold different tokens: masks of their own (B-19)."""

from types import SimpleNamespace
from typing import Any

from torch import nn
from torch.distributed import ProcessGroup

from neuron_trainer.models.blocks.dropout import Dropout
from neuron_trainer.models.spec import Part
from neuron_trainer.parallel.native.context import context_parallel


def test_parts_of_a_sample_have_other_masks_and_keep_those_of_their_tensor_parallel_place() -> None:
    streams = set()
    for rank in range(4):
        for tensor in (0, 2718, 2719):
            module = nn.Sequential(Dropout(0.5))
            module[0].stream = tensor
            group = ProcessGroup(rank, 4)
            mesh: Any = SimpleNamespace(
                device_type="cpu", get_local_rank=group.rank, get_group=lambda group=group: group
            )
            context_parallel.apply(module, mesh, Part(0, 4, 16), is_compiled=False)
            assert rank or module[0].stream == tensor
            streams.add(module[0].stream)
    assert len(streams) == 12
