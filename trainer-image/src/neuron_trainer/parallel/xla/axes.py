"""The processes as axes: `rank = tp + TP * (cp + CP * (dp + DP * pp))` (B-6), and dp = ep + EP * rest.

Which ranks are together follows from this order alone, and on Neuron's runtime from that of neuronx-distributed, which
has another one where neighbouring cores have no short way to each other. On hosts an axis is a process group, on a lazy
device its replica groups.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import ProcessGroup

from neuron_api.config import TrainingConfig
from neuron_api.platform.topology import Topology
from neuron_trainer.parallel.axis import Axis, GroupAxis

from . import sdk
from .replicas import ReplicaAxis


@dataclass(frozen=True, slots=True)
class Axes:
    """By use; None where the dimension has one process."""

    tensor: Axis | None
    context: Axis | None
    data: Axis | None
    """Data- and context-parallel processes together: what gradients are averaged over."""
    experts: Axis | None
    """Data-parallel neighbours that hold different experts."""
    experts_data: Axis | None
    """`data` for the weights of experts: processes that hold the same ones."""
    shuffle: Axis | None
    """Data-parallel neighbours that mix their tokens."""
    stages: ProcessGroup | None
    """Of a pipeline, in the order of its stages; of the hosts."""
    pairs: Mapping[int, Axis]
    """This process and the one at another stage of its pipeline, by that stage: those after and before it. On a lazy
    device alone, which has no messages."""
    stage: int
    data_rank: int
    """Of the data-parallel processes alone."""
    data_size: int
    world: Axis | None
    """All processes."""


def build(topology: Topology, device: torch.device, config: TrainingConfig) -> Axes:
    """Make the process groups. A collective."""
    strategy = config.distributed_strategy
    experts, shuffle = strategy.expert_model_parallel_size, strategy.token_shuffle_group_size
    tensor, context, data = topology.tensor_parallel, topology.context_parallel, topology.data_parallel
    ranks = _order(topology, device, experts, config.trainer.lnc)
    by_expert = ranks.view(-1, data // experts, experts, context, tensor)
    own = (ranks == dist.get_rank()).nonzero()[0].tolist()
    axis = partial(_axis_of, is_lazy=device.type == "xla")
    pipelines = ranks.permute(1, 2, 3, 0)
    stages = _group(pipelines, backend="gloo")
    return Axes(
        tensor=axis(ranks, is_compressed=bool(config.neuron_experimental_compress_rg)),
        context=axis(ranks.transpose(2, 3)),
        data=axis(ranks.permute(0, 3, 1, 2).flatten(2)),
        experts=axis(by_expert.transpose(2, 4)),
        experts_data=axis(by_expert.permute(0, 2, 4, 1, 3).flatten(3)) if experts > 1 else None,
        shuffle=axis(ranks.view(-1, data // shuffle, shuffle, context, tensor).transpose(2, 4)),
        stages=stages,
        pairs=_pairs(pipelines, own[0]) if device.type == "xla" else {},
        stage=own[0],
        data_rank=own[1],
        data_size=data,
        world=axis(ranks.flatten()[None]),
    )


def _order(topology: Topology, device: torch.device, experts: int, lnc: int | None) -> Tensor:
    """Return the ranks by stage, data-, context- and tensor-parallel place."""
    shape = (
        topology.pipeline_parallel,
        topology.data_parallel,
        topology.context_parallel,
        topology.tensor_parallel,
    )
    if device.type == "xla" and sdk.is_expected() and sdk.is_present():
        return torch.tensor(sdk.tensor_groups(topology, experts, sdk.logical_cores(lnc))).view(shape)
    return torch.arange(topology.world_size).view(shape)


def _axis_of(ranks: Tensor, *, is_lazy: bool, is_compressed: bool = False) -> Axis | None:
    if ranks.shape[-1] == 1:
        return None
    if is_lazy:
        groups = tuple(map(tuple, ranks.flatten(0, -2).tolist()))
        own = next(group for group in groups if dist.get_rank() in group)
        named = groups[:1] if is_compressed else groups
        return ReplicaAxis(named, own, own.index(dist.get_rank()))
    group = _group(ranks)
    return None if group is None else GroupAxis(group)


def _pairs(pipelines: Tensor, stage: int) -> dict[int, Axis]:
    """Return the axes of this stage with the one after it and the one before it; the first comes after the last.

    A program names all processes, so other stages are in pairs, too; who is left over is a group of its own.
    """
    count = pipelines.shape[-1]
    lines = pipelines.flatten(0, -2).tolist()
    result: dict[int, Axis] = {}
    for first, other in ((stage, (stage + 1) % count), ((stage - 1) % count, (stage - 1) % count)):
        around = [(first + place) % count for place in range(count)]
        places = [around[place : place + 2] for place in range(0, count, 2)]
        groups = sorted(tuple(sorted(line[place] for place in pair)) for line in lines for pair in places)
        own = next(group for group in groups if dist.get_rank() in group)
        result[other] = ReplicaAxis(tuple(groups), own, own.index(dist.get_rank()))
    return result


def _group(ranks: Tensor, backend: str | None = None) -> ProcessGroup | None:
    """Return the group of the processes along the last dimension; all processes make all groups, in one order."""
    if ranks.shape[-1] == 1:
        return None
    own: ProcessGroup | None = None
    for members in ranks.flatten(0, -2).tolist():
        group = dist.new_group(members, backend=backend)
        own = group if isinstance(group, ProcessGroup) else own
    return own
