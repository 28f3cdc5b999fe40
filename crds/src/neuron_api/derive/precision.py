"""Bytes per number for each type of `precision` (the table of B-3)."""

from dataclasses import dataclass

from neuron_api.config import TrainingConfig

_BF16, _FP32 = 2, 4


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
    """B-3: columns "compute", "master weights", "accumulation over micro-batches", "optimizer state"."""
    keys = config.precision
    fp32_states = config.model.optim.name == "adamw_fp32OptState"
    match keys.type:
        case "fp32":
            return Widths(_FP32, 0, _FP32, _FP32)
        case "bf16SR":
            return Widths(_BF16, 0, _BF16, _FP32 if fp32_states else _BF16)
        case "manual":
            compute = _BF16 if keys.xla_use_bf16 or keys.xla_downcast_bf16 else _FP32
            masters = _FP32 if keys.master_weights and compute == _BF16 else 0
            accumulation = _FP32 if keys.fp32_grad_acc else compute
            return Widths(compute, masters, accumulation, _FP32 if masters or fp32_states else compute)
        case _:
            return Widths(_BF16, _FP32, _FP32, _FP32)
