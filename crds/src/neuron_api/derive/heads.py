"""Copies of each key/value head, so that tensor parallelism can split them."""

from math import gcd

from neuron_api.config import TrainingConfig


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
