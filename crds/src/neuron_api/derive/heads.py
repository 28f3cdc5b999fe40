"""How often each key/value head is copied so that tensor parallelism can split them (B-6)."""

from math import gcd

from neuron_api.config import TrainingConfig


def replication(kv_heads: int | None, tensor_parallel: int, asked: int | None) -> int | None:
    """`kv_replicator` where it is set; else the least r with kv_heads * r divisible by the tensor-parallel size.

    For sizes that divide one another that is max(1, TP / kv_heads). None: the number of heads is not known.
    """
    if asked:
        return asked
    if not kv_heads:
        return None
    return tensor_parallel // gcd(kv_heads, tensor_parallel)


def asked(config: TrainingConfig) -> int | None:
    """`kv_replicator`, which has an effect with `qkv_linear` only (section 4); None: as many as needed."""
    return config.distributed_strategy.kv_replicator if config.model.qkv_linear else None
