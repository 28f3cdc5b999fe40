"""`model.fusions`: fused kernels."""

from typing import Annotated, Final

from .markers import NEURON_ONLY, NoEffect
from .section import Flag, Section

_KERNEL: Final = NoEffect("PyTorch chooses the attention kernel")
_RING: Final = NoEffect("the sequence is not split", unless="distributed_strategy.context_parallel_size")


class FusionsConfig(Section):
    """Fused kernels; none of them changes the numbers."""

    softmax: Annotated[Flag, NEURON_ONLY] = False
    """Use the fused softmax (NEURON_FUSE_SOFTMAX). Default False, as where the key is absent upstream."""

    flash_attention: Annotated[Flag, _KERNEL] = False
    """Attention without the score matrix in memory; not together with ring_attention. Default False."""

    ring_attention: Annotated[Flag, _RING] = False
    """Attention over a split sequence by passing keys and values around; needed when context_parallel_size is more
    than 1. Default False."""

    do_layer_norm_weight_decay: Flag | None = None
    """The same as model.do_layer_norm_weight_decay, where the document has it; give one of the two. Default null."""
