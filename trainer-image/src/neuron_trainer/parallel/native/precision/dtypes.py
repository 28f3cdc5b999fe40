"""The dtypes of B-3 as PyTorch's (`neuron_api.derive.precision` is the table)."""

from collections.abc import Mapping
from types import MethodType
from typing import Final

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import MixedPrecisionPolicy

from neuron_api.derive.precision import Dtype, PrecisionPolicy
from neuron_trainer.models.blocks.moe.router import Router, Routing
from neuron_trainer.parallel.native.tensor.reduction import Reduction

TORCH: Final[Mapping[Dtype, torch.dtype]] = {"bf16": torch.bfloat16, "fp32": torch.float32}


def is_mixed(policy: PrecisionPolicy) -> bool:
    """Return whether what is computed with is not what is updated, or gradients are added up in another dtype."""
    return policy.has_masters or policy.accumulation != policy.compute


def mixed_precision(policy: PrecisionPolicy) -> MixedPrecisionPolicy:
    """FSDP gathers weights in the dtype of computing; it sums gradients over micro-batches in the one it reduces in."""
    gathered = TORCH[policy.compute] if policy.has_masters else None
    reduced = TORCH[policy.accumulation] if policy.accumulation != policy.compute else None
    return MixedPrecisionPolicy(param_dtype=gathered, reduce_dtype=reduced, cast_forward_inputs=False)


def reduction(policy: PrecisionPolicy) -> Reduction:
    """Return the reduction of the sums inside layers."""
    return Reduction(None if policy.layers == policy.compute else TORCH[policy.layers])


def autocast(module: nn.Module, device_type: str) -> None:
    """Run the module inside bf16 autocast, and its routers, which compute in fp32 (B-12), outside of it."""
    for child in module.modules():
        if isinstance(child, Router):
            child.forward = MethodType(_without_autocast, child)  # type: ignore[method-assign]
    module.forward = torch.autocast(device_type, torch.bfloat16)(module.forward)


def _without_autocast(router: Router, states: Tensor) -> Routing:
    with torch.autocast(states.device.type, enabled=False):
        return Router.forward(router, states)
