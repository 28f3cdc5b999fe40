"""Activation recompute (B-6): chosen modules run their forward pass again in the backward pass; numbers unchanged."""

from functools import partial
from types import MethodType
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from neuron_api.config import ModelConfig


def apply(module: nn.Module, config: ModelConfig, layers: list[str]) -> None:
    """Wrap the `forward` of the configured modules; names of parameters stay as they are."""
    match config.activations_checkpoint_granularity:
        case "full":
            for name in layers:
                _recompute(module.get_submodule(name))
        case "selective":
            chosen = config.activations_checkpoint_recompute or ("CoreAttention",)
            for child in list(module.modules()):
                if type(child).__name__ in chosen:
                    _recompute(child)
        case None:
            pass


def _recompute(module: nn.Module) -> None:
    """A method is the same code for every layer, which a compiler asks; what is replaced already is called as it is."""
    if "forward" in vars(module):
        module.forward = partial(checkpoint, module.forward, use_reentrant=False)
    else:
        module.forward = MethodType(_recomputed, module)


def _recomputed(module: nn.Module, *args: Any, **named: Any) -> Any:
    return checkpoint(type(module).forward, module, *args, use_reentrant=False, **named)
