"""Context parallelism: each process computes a contiguous part of every sample (B-6)."""

from dataclasses import dataclass
from functools import partial
from typing import Final

from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Shard

from neuron_trainer import accelerators
from neuron_trainer.models.blocks.attention import AttentionMaskBuilder, CoreAttention
from neuron_trainer.models.blocks.dropout import Dropout
from neuron_trainer.models.blocks.moe.router import Router
from neuron_trainer.models.spec import Part

from . import exchange, host_attention, pair_attention
from .ring_attention import ring_attention

_STREAM: Final = 1_000_003
"""Between the random streams of processes: far from those of tensor parallelism, to which it is added."""


def apply(module: nn.Module, mesh: DeviceMesh, own: Part, *, is_compiled: bool) -> None:
    """Attention goes round the ring of `mesh`, and routers see whole samples; all else works on each token alone."""
    accelerator = accelerators.get(mesh.device_type)
    attention = partial(
        ring_attention,
        exchange=exchange.for_group(mesh.get_group(), accelerator, is_compiled=is_compiled),
        kernel=host_attention if accelerator.is_host else pair_attention,
    )
    for child in module.modules():
        if isinstance(child, Dropout):  # each process has other tokens
            child.stream += _STREAM * mesh.get_local_rank()
        if isinstance(child, CoreAttention):
            child.kernel = partial(attention, window=child.window, dropout=child.dropout)
        if isinstance(child, AttentionMaskBuilder):
            child.is_left_to_kernel = True
        if isinstance(child, Router):
            child.samples = WholeSamples(mesh, own)


@dataclass(frozen=True, slots=True)
class WholeSamples:
    """See `Samples` of the router. Logits are few: E numbers a token."""

    mesh: DeviceMesh
    part: Part

    def gather(self, logits: Tensor) -> Tensor:
        """An all-gather. Every process computes with the whole, so the gradients of a part are summed."""
        parts = DTensor.from_local(logits, self.mesh, [Shard(1)], run_check=False)
        return parts.full_tensor(grad_placements=[Partial()])

    def own(self, of_whole: Tensor) -> Tensor:
        """The rest's gradients come from the other processes."""
        return self.part.cut(of_whole)
