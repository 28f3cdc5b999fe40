"""Context parallelism: each process computes a contiguous part of every sample (B-6)."""

from functools import partial

from torch import Tensor, nn
from torch.distributed import ProcessGroup

from neuron_trainer.models.blocks.attention import CoreAttention
from neuron_trainer.models.sequence import Part

from .ring_attention import ring_attention


def apply(module: nn.Module, group: ProcessGroup) -> None:
    """Attention goes round the ring of `group`; everything else works on each token alone."""
    for child in module.modules():
        if isinstance(child, CoreAttention):
            child.kernel = partial(ring_attention, group=group)


def part(total: int, rank: int, size: int) -> Part:
    """Process `rank`'s part of a sample of `total` tokens, a multiple of `size`."""
    length = total // size
    return Part(rank * length, length, total)


def cut(rows: Tensor, own: Part) -> Tensor:
    """[B, S] to [B, own.length]."""
    return rows[:, own.start : own.start + own.length]
