"""How one model replica and the optimizer state are sharded: the sizes that the memory estimate divides by."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sharding:
    """Sizes of the parallel dimensions."""

    tensor: int = 1
    sequence: int = 1
    """Processes that share the activations between tensor-parallel blocks: `tensor` with sequence_parallel, else 1."""
    pipeline: int = 1
    virtual: int = 1
    """Chunks per stage."""
    context: int = 1
    expert: int = 1
    data: int = 1
    is_zero1: bool = False
    keeps_gathered: bool = True
    """With sequence parallelism a linear saves its gathered input (native backend: DTensor gathers once per block). If
    False it saves its shard and gathers again in the backward pass (nxd: LinearWithAsyncCommunication)."""
    kv_copies: int = 1
    """Copies of each key/value head."""

    @property
    def optimizer(self) -> int:
        """Return the processes that share the optimizer state of dense weights."""
        return self.data * self.context if self.is_zero1 else 1

    @property
    def expert_optimizer(self) -> int:
        """Return the processes that share the optimizer state of expert weights."""
        return max(1, self.optimizer // self.expert)
