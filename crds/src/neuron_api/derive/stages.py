"""Number of layers in each pipeline stage."""

from collections.abc import Sequence
from itertools import groupby, pairwise


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
