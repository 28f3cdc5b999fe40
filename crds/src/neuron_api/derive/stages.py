"""Which pipeline stage holds how many layers (B-7)."""

from collections.abc import Sequence
from itertools import groupby, pairwise


def layers_per_stage(layers: int, pipeline: int, virtual: int = 1, cuts: Sequence[str] = ()) -> tuple[int, ...] | None:
    """Layers of each stage in stage order; None when they cannot be split so.

    Without cuts the last `layers % blocks` blocks get one more (neuronx-distributed, pipeline/partition.py:280). With
    `virtual` chunks per stage, chunk c of stage p is block c * pipeline + p. A cut names the last layer of its block.
    """
    blocks = block_sizes(layers, pipeline * virtual, cuts)
    if blocks is None:
        return None
    return tuple(sum(blocks[stage::pipeline]) for stage in range(pipeline))


def block_sizes(layers: int, blocks: int, cuts: Sequence[str] = ()) -> tuple[int, ...] | None:
    """Layers of each block of the model, in the model's order."""
    if cuts:
        return _cut(layers, blocks, cuts)
    if layers < blocks:
        return None
    whole, more = divmod(layers, blocks)
    return (whole,) * (blocks - more) + (whole + 1,) * more


def run_lengths(sizes: Sequence[int]) -> str:
    """`3x2,4x30`: two stages of 3 layers, then thirty of 4."""
    return ",".join(f"{size}x{len(list(group))}" for size, group in groupby(sizes))


def _cut(layers: int, blocks: int, cuts: Sequence[str]) -> tuple[int, ...] | None:
    numbers = [cut.rpartition(".")[2] for cut in cuts]
    if len(cuts) != blocks - 1 or not all(number.isdecimal() for number in numbers):
        return None
    ends = [-1, *(int(number) for number in numbers), layers - 1]
    sizes = tuple(end - start for start, end in pairwise(ends))
    return sizes if min(sizes) > 0 else None
