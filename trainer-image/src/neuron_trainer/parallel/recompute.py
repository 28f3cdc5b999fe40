"""`activations_checkpoint_granularity` (B-6): chosen modules run their forward pass again in the backward pass; numbers
are unchanged."""

from collections.abc import Callable
from functools import partial
from types import MethodType
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from neuron_api.config import ModelConfig

Run = Callable[..., Any]
"""Calls a function with arguments, and once more in the backward pass."""


def recompute_modules(module: nn.Module, config: ModelConfig, layers: list[str], run: Run | None = None) -> None:
    """Wrap the `forward` of the configured modules; names of parameters stay as they are. `run`: by default PyTorch's
    checkpoint."""
    match config.activations_checkpoint_granularity:
        case "full":
            for name in layers:
                _recompute(module.get_submodule(name), run)
        case "selective":
            chosen = config.activations_checkpoint_recompute or ("CoreAttention",)
            for child in list(module.modules()):
                if type(child).__name__ in chosen:
                    _recompute(child, run)
        case None:
            pass


def is_recomputed(config: ModelConfig, module: nn.Module) -> bool:
    """Return whether a block, or the layer of which it is a part, is run again in the backward pass."""
    if config.activations_checkpoint_granularity == "selective":
        return type(module).__name__ in (config.activations_checkpoint_recompute or ())
    return config.activations_checkpoint_granularity == "full"


def _recompute(module: nn.Module, run: Run | None) -> None:
    """A method is the same code for every layer, which a compiler asks; what is replaced already is called as it is."""
    if run is not None:
        module.forward = partial(run, module.forward)
    elif "forward" in vars(module):
        module.forward = partial(checkpoint, module.forward, use_reentrant=False)
    else:
        module.forward = MethodType(_recomputed, module)


def _recomputed(module: nn.Module, *args: Any, **named: Any) -> Any:
    return checkpoint(type(module).forward, module, *args, use_reentrant=False, **named)
