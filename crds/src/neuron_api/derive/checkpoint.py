"""Bytes of one checkpoint directory."""

from dataclasses import dataclass
from typing import Final

from neuron_api.config import TrainingConfig

from .precision import Widths, widths

_BF16: Final = 2


@dataclass(frozen=True, slots=True)
class StoredWidths:
    """Bytes per element in a checkpoint."""

    weight: int
    """The model's tensors."""
    master: int
    """The weights that the optimizer updates, if the model's tensors have fewer bits; else 0."""
    state: int
    """Each tensor of the optimizer's state."""


def stored_widths(config: TrainingConfig) -> StoredWidths:
    """Return the widths by the precision and `save_bf16`, `use_master_weights_in_ckpt` and `save_weights_only`."""
    bytes_, manager = widths(config), config.exp_manager
    params = manager.checkpoint_callback_params
    updated = bytes_.masters or bytes_.compute
    weight = _weight(bytes_, updated, save_bf16=manager.save_bf16, with_masters=params.use_master_weights_in_ckpt)
    if params.save_weights_only:
        return StoredWidths(weight, 0, 0)
    return StoredWidths(weight, updated if updated > weight else 0, bytes_.state)


def _weight(bytes_: Widths, updated: int, *, save_bf16: bool, with_masters: bool) -> int:
    if save_bf16:
        return _BF16
    return updated if with_masters else bytes_.compute


def size(parameters: int, trained: int, states: int, widths: StoredWidths) -> int:
    """Return the bytes of every parameter once, and of the optimizer's tensors of the trained ones.

    Key/value copies and replicas are written once. Index, manifest and generators (kilobytes) are not counted.
    """
    return widths.weight * parameters + trained * (widths.master + states * widths.state)
