"""Expert parallelism: tokens go to where their experts are (B-12)."""

from collections.abc import Iterator
from typing import Final

from neuron_api.config import TrainingConfig
from neuron_api.findings.finding import Finding
from neuron_api.findings.registry import make_finding

_SHUFFLE: Final = "distributed_strategy.token_shuffle_group_size"


def check(config: TrainingConfig) -> Iterator[Finding]:
    """Yield a token shuffle whose groups would not have equally many tokens."""
    strategy = config.distributed_strategy
    group = strategy.token_shuffle_group_size
    tokens = config.data.micro_batch_size * config.model.encoder_seq_length // strategy.context_parallel_size
    if tokens % group:
        message = f"{group} is no divisor of the {tokens} tokens of a micro-batch on a process."
        yield make_finding(4001, _SHUFFLE, message, "Use one that is.")
