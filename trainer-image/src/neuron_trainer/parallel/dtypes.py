"""The dtypes of B-3 as PyTorch's (`neuron_api.derive.precision` is the table)."""

from collections.abc import Mapping
from types import MethodType
from typing import Final

import torch
from torch import Tensor, nn

from neuron_api.derive.precision import Dtype, PrecisionPolicy
from neuron_trainer.models.blocks.moe.router import Router, Routing

TORCH: Final[Mapping[Dtype, torch.dtype]] = {"bf16": torch.bfloat16, "fp32": torch.float32}


def is_mixed(policy: PrecisionPolicy) -> bool:
    """Return whether what is computed with is not what is updated, or gradients are added up in another dtype."""
    return policy.has_masters or policy.accumulation != policy.compute


def autocast(module: nn.Module, device_type: str) -> None:
    """Run the module inside bf16 autocast, and its routers, which compute in fp32 (B-12), outside of it."""
    for child in module.modules():
        if isinstance(child, Router):
            child.forward = MethodType(_without_autocast, child)  # type: ignore[method-assign]
    module.forward = torch.autocast(device_type, torch.bfloat16)(module.forward)


def _without_autocast(router: Router, states: Tensor) -> Routing:
    with torch.autocast(states.device.type, enabled=False):
        return Router.forward(router, states)


def layer_sums(policy: PrecisionPolicy) -> torch.dtype | None:
    """Return the dtype of the sums inside layers; None: that of what is summed."""
    return None if policy.layers == policy.compute else TORCH[policy.layers]
