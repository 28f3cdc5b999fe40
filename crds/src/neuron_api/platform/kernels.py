"""What the attention kernels of the Neuron SDK take, as far as the configuration alone says it.

What follows from the model (the size of a head, a sliding window) or from the data (documents) the trainer sees, and
computes with PyTorch's operators instead (docs/design/026-xla-backend.md).
"""

from collections.abc import Iterator
from typing import Final

from neuron_api.config import TrainingConfig
from neuron_api.findings.finding import Finding
from neuron_api.findings.registry import make_finding
from neuron_api.resource.accelerator import Stack

from .instances import TRAINIUM_1, InstanceType

FLASH_BLOCK: Final = 2048
"""Tokens that a sample must be a multiple of for the flash kernel (upstream-facts.md#nki-attention)."""
RING_BLOCK: Final = 1024
"""Tokens that a context-parallel part must be a multiple of on Neuron."""
MAX_HEAD: Final = 128
"""Elements of a head: the partitions of a NeuronCore's memory."""
_MAX_RING_TOKENS_TRN1: Final = 32_768
"""Maximum tokens of a sample with context parallelism on Trn1."""


def check(config: TrainingConfig, instance: InstanceType) -> Iterator[Finding]:
    """Yield the findings about lengths that the kernels of an instance type refuse."""
    yield from _ring(config, instance)
    if instance.generation.stack is Stack.XLA:
        yield from flash(config)


def flash(config: TrainingConfig) -> Iterator[Finding]:
    """Yield the finding about samples that the flash kernel refuses, where the file asks for it on PyTorch/XLA."""
    tokens = config.model.encoder_seq_length
    if config.model.fusions.flash_attention and tokens % FLASH_BLOCK:
        near = -(-tokens // FLASH_BLOCK) * FLASH_BLOCK
        yield make_finding(
            3020,
            "model.encoder_seq_length",
            f"{tokens} tokens are no multiple of {FLASH_BLOCK}, as the kernel of model.fusions.flash_attention needs "
            "on PyTorch/XLA.",
            f"Use {near}, or set model.fusions.flash_attention to False.",
        )


def _ring(config: TrainingConfig, instance: InstanceType) -> Iterator[Finding]:
    parts, tokens = config.distributed_strategy.context_parallel_size, config.model.encoder_seq_length
    if parts > 1 and tokens % (parts * RING_BLOCK):
        yield make_finding(
            3013,
            "distributed_strategy.context_parallel_size",
            f"on Neuron each of {parts} parts of a sample must be a multiple of {RING_BLOCK} tokens; {tokens} tokens "
            "give none.",
            f"Use an encoder_seq_length that is a multiple of {parts * RING_BLOCK}, or fewer parts.",
        )
    if parts > 1 and instance.generation is TRAINIUM_1 and tokens > _MAX_RING_TOKENS_TRN1:
        yield make_finding(
            3014,
            "model.encoder_seq_length",
            f"{tokens} tokens are more than the {_MAX_RING_TOKENS_TRN1} that ring attention takes on Trn1.",
        )
