"""Attention by the Neuron SDK's kernels, flash and ring, where they can compute it; their numbers are those of PyTorch.

What they cannot do (documents, a sliding window, dropout, a head of more than 128 elements) PyTorch's operators
compute, which is said once. Which run asks for a kernel: `apply`.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
import torch.distributed as dist
from torch import Tensor, nn

from neuron_api.config import TrainingConfig
from neuron_api.platform.kernels import FLASH_BLOCK, MAX_HEAD, RING_BLOCK
from neuron_trainer.errors import DeviceError
from neuron_trainer.models.blocks.attention import CoreAttention, Kernel
from neuron_trainer.parallel.axis import Axis
from neuron_trainer.parallel.xla import sdk
from neuron_trainer.parallel.xla.replicas import ReplicaAxis

log = logging.getLogger(__name__)

Call = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Causal attention of [B, heads, S, D], each query head with a key head of its own."""


def apply(module: nn.Module, config: TrainingConfig, ring: Axis | None) -> None:
    """Let a kernel compute attention on a lazy device: the ring's where samples are split, and the flash kernel where
    the file asks for it. `ring`: the context-parallel processes, whose attention over gathered keys is there already.
    """
    fusions = config.model.fusions
    cores = [child for child in module.modules() if isinstance(child, CoreAttention)]
    for core in cores:
        core.is_written_out = fusions.softmax
    if ring is None and not (fusions.flash_attention or fusions.ring_attention):
        return
    try:
        call = flash(config) if ring is None else ring_of(ring)
    except DeviceError as problem:
        if fusions.flash_attention and sdk.is_expected():
            raise
        _say(f"{problem} PyTorch's operators compute attention.")
        return
    lnc = sdk.logical_cores(config.trainer.lnc) if ring is None else 1
    for core in cores:
        otherwise = core.kernel or core.without_kernel
        if ring is None:
            core.kernel = SdkKernel(core, call, otherwise, FLASH_BLOCK, lnc=lnc)
        else:
            core.kernel = SdkKernel(core, call, otherwise, RING_BLOCK, parts=ring.size)


def flash(config: TrainingConfig) -> Call:
    """Return the flash kernel as the file wants it to be called. Raises `DeviceError` where there is none."""
    return flash_call(
        sdk.flash_attention(), sdk.logical_cores(config.trainer.lnc), is_transposed=config.model.transpose_nki_inputs
    )


def flash_call(attention: sdk.Attention, lnc: int, *, is_transposed: bool) -> Call:
    """Return the call of a flash kernel; transposed, it is given [B, heads, D, S]."""

    def call(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        states = (part.transpose(2, 3) if is_transposed else part for part in (query, key, value))
        is_mixed = value.dtype != torch.float32
        return attention(*states, lnc, mixed_precision=is_mixed, transpose_nki_inputs=is_transposed)

    return call


def ring_of(axis: Axis) -> Call:
    """Return the ring kernel of this process's ring. Raises `DeviceError` where there is none."""
    assert isinstance(axis, ReplicaAxis)  # a lazy device has no other
    return ring_call(sdk.ring_attention(), dist.get_rank(), sdk.ring_pairs(axis.groups, dist.get_rank()))


def ring_call(attention: sdk.Attention, rank: int, pairs: object) -> Call:
    """Return the call of a ring kernel. The rank is a number in the graph, so each process of a ring has its own."""

    def call(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return attention(query, key, value, rank, pairs, mixed_precision=value.dtype != torch.float32)

    return call


@dataclass(frozen=True, slots=True)
class SdkKernel:
    """A `Kernel` that is the SDK's where that can compute what is asked."""

    core: CoreAttention
    call: Call
    otherwise: Kernel
    block: int
    """Tokens that a process's part of a sample must be a multiple of."""
    parts: int = 1
    """Of a sample."""
    lnc: int = 1
    """Physical cores that share the heads."""

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """See `Kernel`."""
        if obstacle := self._obstacle(query, mask):
            _say(f"the Neuron SDK's attention kernel cannot do {obstacle}: PyTorch's operators compute attention.")
            return self.otherwise(query, key, value, mask)
        copies = query.shape[1] // key.shape[1]
        if copies > 1:
            key, value = key.repeat_interleave(copies, dim=1), value.repeat_interleave(copies, dim=1)
        # Rotated states may be wider than what was not rotated; a kernel takes one dtype.
        return self.call(query.to(value.dtype), key.to(value.dtype), value).to(value.dtype)

    def _obstacle(self, query: Tensor, mask: Tensor | None) -> str:
        """Return what the kernel cannot do; empty where it can. Shapes alone decide, so all steps have one graph."""
        _, heads, length, size = query.shape
        window = self.core.window
        if mask is not None:
            return "documents that do not see each other"
        if window is not None and window < length * self.parts:
            return f"a sliding window of {window} tokens"
        if self.core.dropout.probability > 0:
            return "dropout of attention"
        if size > MAX_HEAD:
            return f"heads of {size} elements, more than {MAX_HEAD}"
        if length % self.block:
            return f"{length} tokens, no multiple of {self.block}"
        if heads % self.lnc:
            return f"{heads} heads on {self.lnc} cores"
        return ""


@cache
def _say(sentence: str) -> None:
    log.warning("%s", sentence)
