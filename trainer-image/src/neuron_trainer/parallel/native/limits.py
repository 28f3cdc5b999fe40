"""What this backend cannot split yet, told before any process starts; by the modules that a model has."""

from collections.abc import Iterator

from neuron_api.config import TrainingConfig
from neuron_api.findings import Finding
from neuron_api.registry import found
from neuron_trainer.models.blocks.attention import CoreAttention
from neuron_trainer.models.family import Family

_CONTEXT = "distributed_strategy.context_parallel_size"
_SHUFFLE = "distributed_strategy.token_shuffle_group_size"


def check(config: TrainingConfig, family: Family) -> Iterator[Finding]:
    """What context parallelism and the token shuffle do not know of."""
    size, group = (
        config.distributed_strategy.context_parallel_size,
        config.distributed_strategy.token_shuffle_group_size,
    )
    tokens = config.data.micro_batch_size * config.model.encoder_seq_length // size
    if tokens % group:
        yield found(4001, _SHUFFLE, f"{group} is no divisor of the {tokens} tokens of a micro-batch on a process.",
                    "Use one that is.")  # fmt: skip
    if size == 1:
        return
    if config.data.reset_attention_mask:
        yield found(4001, _CONTEXT, f"{size} with data.reset_attention_mask is not supported by this release: the ring "
                    "of context parallelism does not know of documents.", "Use 1, or leave reset_attention_mask "
                    "out.")  # fmt: skip
    # The kernel of the ring has no dropout, and masks could not be those of one process.
    if any(isinstance(child, CoreAttention) and child.dropout.probability for child in family.on_meta().modules()):
        yield found(4001, _CONTEXT, f"{size} with dropout in attention is not supported by this release.", "Use 1.")
