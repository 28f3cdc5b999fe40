"""Dtypes of computation, storage and communication, shared by the trainer and the memory estimate."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from neuron_api.config import TrainingConfig

Dtype = Literal["bf16", "fp32"]
BYTES: Final[Mapping[Dtype, int]] = {"bf16": 2, "fp32": 4}


@dataclass(frozen=True, slots=True)
class PrecisionPolicy:
    """The dtypes of a run."""

    compute: Dtype
    """Weights in use, activations, the gradient of one micro-batch."""
    has_masters: bool
    """The optimizer updates fp32 weights; the weights in use are rounded copies of them."""
    accumulation: Dtype
    """The gradient summed over micro-batches, and its collectives. FSDP accumulates in the dtype that it reduces in, so
    `fp32_grads_cc` raises both."""
    state: Dtype
    """The optimizer's state."""
    layers: Dtype
    """Sums over tensor-parallel processes inside layers (`parallel_layers_reduce_dtype`)."""
    is_stochastic: bool = False
    """Weights are rounded up or down at random, in proportion; else to nearest even."""
    is_autocast: bool = False
    """The model runs inside `torch.autocast`."""

    @property
    def stored(self) -> Dtype:
        """Return the dtype of the weights that the optimizer updates."""
        return "fp32" if self.has_masters else self.compute


def policy(config: TrainingConfig) -> PrecisionPolicy:
    """Return the dtypes of a configuration by its precision type."""
    keys = config.precision
    fp32_states = config.model.optim.name == "adamw_fp32OptState"
    layers: Dtype = keys.parallel_layers_reduce_dtype or ("fp32" if keys.type == "fp32" else "bf16")
    match keys.type:
        case "fp32":
            return PrecisionPolicy("fp32", False, "fp32", "fp32", layers)
        case "bf16SR":
            return PrecisionPolicy("bf16", False, "bf16", "fp32" if fp32_states else "bf16", layers, is_stochastic=True)
        case "manual":
            return _manual(config, layers, fp32_states=fp32_states)
        case _:
            rounding = keys.type in ("mixed_precisionSR", "mixed_precision_SR")
            autocast = keys.type == "autocast"
            return PrecisionPolicy("bf16", True, "fp32", "fp32", layers, is_stochastic=rounding, is_autocast=autocast)


def _manual(config: TrainingConfig, layers: Dtype, *, fp32_states: bool) -> PrecisionPolicy:
    """Return the dtypes of type manual; absent keys are False."""
    keys = config.precision
    if not (keys.xla_use_bf16 or keys.xla_downcast_bf16):
        return PrecisionPolicy("fp32", False, "fp32", "fp32", layers)
    return PrecisionPolicy(
        compute="bf16",
        has_masters=keys.master_weights,
        accumulation="fp32" if keys.fp32_grad_acc or keys.fp32_grads_cc else "bf16",
        state="fp32" if keys.master_weights or fp32_states else "bf16",
        layers=layers,
        is_stochastic=keys.neuron_rt_stochastic_rounding_en,
    )


@dataclass(frozen=True, slots=True)
class Widths:
    """Bytes per element."""

    compute: int
    """Weights in use, activations, the gradient of one micro-batch."""
    masters: int
    """fp32 copy of the weights that the optimizer updates; 0: the weights themselves are updated."""
    accumulation: int
    """Gradient summed over micro-batches, and its reduction."""
    state: int
    """Each tensor of the optimizer's state."""


def widths(config: TrainingConfig) -> Widths:
    """Return the dtypes as bytes, for the memory estimate."""
    dtypes = policy(config)
    return Widths(
        compute=BYTES[dtypes.compute],
        masters=BYTES["fp32"] if dtypes.has_masters else 0,
        accumulation=BYTES[dtypes.accumulation],
        state=BYTES[dtypes.state],
    )
