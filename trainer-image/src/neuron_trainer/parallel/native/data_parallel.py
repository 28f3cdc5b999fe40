"""Data parallelism through FSDP2: gradient averaging, zero1 sharding, mixed precision."""

from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard


def apply(module: nn.Module, mesh: DeviceMesh, layers: list[str], precision: MixedPrecisionPolicy) -> None:
    """Shard each layer and then the rest as units; parameters stay gathered from forward to the end of backward."""
    for name in layers:
        fully_shard(module.get_submodule(name), mesh=mesh, mp_policy=precision, reshard_after_forward=False)
    fully_shard(module, mesh=mesh, mp_policy=precision, reshard_after_forward=False)


def start_micro_batch(module: nn.Module, is_last: bool) -> None:
    """Keep parameters gathered and gradients unreduced until the last micro-batch: one collective each per step."""
    if isinstance(module, FSDPModule):
        module.set_requires_gradient_sync(is_last)
        module.set_reshard_after_backward(is_last)
