"""How a model replica and the optimizer state are sharded: parallel sizes, layers per stage, copies of key/value
heads."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise
from math import gcd

from neuron_api.config import TrainingConfig


@dataclass(frozen=True, slots=True)
class Sharding:
    """Sizes of the parallel dimensions."""

    tensor: int = 1
    sequence: int = 1
    """Processes that share the activations between tensor-parallel blocks: `tensor` with sequence_parallel, else 1."""
    pipeline: int = 1
    virtual: int = 1
    """Chunks per stage."""
    context: int = 1
    expert: int = 1
    data: int = 1
    is_zero1: bool = False
    keeps_gathered: bool = True
    """With sequence parallelism a linear saves its gathered input (backend `native`: DTensor gathers once per block).
    If False it saves its part and gathers again in the backward pass (backend `xla`, as neuronx-distributed)."""
    kv_copies: int = 1
    """Copies of each key/value head."""

    @property
    def optimizer(self) -> int:
        """Return the processes that share the optimizer state of dense weights."""
        return self.data * self.context if self.is_zero1 else 1

    @property
    def expert_optimizer(self) -> int:
        """Return the processes that share the optimizer state of expert weights."""
        return max(1, self.optimizer // self.expert)


def replication(kv_heads: int | None, tensor_parallel: int, requested: int | None) -> int | None:
    """Return `kv_replicator` if it is set; else the least r with kv_heads * r divisible by the tensor-parallel size.

    For sizes that divide one another that is max(1, TP / kv_heads). None if the number of heads is unknown.
    """
    if requested:
        return requested
    if not kv_heads:
        return None
    return tensor_parallel // gcd(kv_heads, tensor_parallel)


def requested_replication(config: TrainingConfig) -> int | None:
    """Return `kv_replicator`, which has an effect with `qkv_linear` only; None means as many as needed."""
    return config.distributed_strategy.kv_replicator if config.model.qkv_linear else None


def layers_per_stage(layers: int, pipeline: int, virtual: int = 1, cuts: Sequence[str] = ()) -> tuple[int, ...] | None:
    """Return the layers of each stage in stage order; None if they cannot be split.

    Without cuts the last `layers % blocks` blocks get one more (neuronx-distributed, pipeline/partition.py:280). With
    `virtual` chunks per stage, chunk c of stage p is block c * pipeline + p. A cut names the last layer of its block.
    """
    blocks = block_sizes(layers, pipeline * virtual, cuts)
    if blocks is None:
        return None
    return tuple(sum(blocks[stage::pipeline]) for stage in range(pipeline))


def block_sizes(layers: int, blocks: int, cuts: Sequence[str] = ()) -> tuple[int, ...] | None:
    """Return the layers of each block of the model, in order; None if they cannot be split."""
    if cuts:
        return _cut(layers, blocks, cuts)
    if layers < blocks:
        return None
    whole, remainder = divmod(layers, blocks)
    return (whole,) * (blocks - remainder) + (whole + 1,) * remainder


def layer_spans(layers: int, blocks: int, cuts: Sequence[str] = ()) -> tuple[range, ...] | None:
    """Return the numbers of the layers of each block; None if they cannot be split."""
    sizes = block_sizes(layers, blocks, cuts)
    return None if sizes is None else spans(sizes)


def spans(sizes: Sequence[int]) -> tuple[range, ...]:
    """Return the numbers of the layers of each block, from its size."""
    return tuple(range(stop - size, stop) for size, stop in zip(sizes, accumulate(sizes), strict=True))


def run_lengths(sizes: Sequence[int]) -> str:
    """Return sizes as runs: `3x2,4x30` is two stages of 3 layers, then thirty of 4."""
    return ",".join(f"{size}x{len(list(group))}" for size, group in groupby(sizes))


def _cut(layers: int, blocks: int, cuts: Sequence[str]) -> tuple[int, ...] | None:
    numbers = [cut.rpartition(".")[2] for cut in cuts]
    if len(cuts) != blocks - 1 or not all(number.isdecimal() for number in numbers):
        return None
    ends = [-1, *(int(number) for number in numbers), layers - 1]
    sizes = tuple(end - start for start, end in pairwise(ends))
    return sizes if min(sizes) > 0 else None


def heads_of(rank: int, size: int, heads: int, copies: int) -> list[int]:
    """The heads that process `rank` of `size` reads, in the order of its queries: neighbours share a head."""
    each = heads * copies // size
    return [copy // copies for copy in range(rank * each, (rank + 1) * each)]
