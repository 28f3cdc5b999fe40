"""Rotary position embedding (arXiv:2104.09864) in the half-split layout of `transformers`, tables always fp32."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from neuron_trainer.models.spec import Part


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """A stretching of the frequencies for sequences longer than the model was first trained on."""

    rope_type: str
    """`linear`: all divided by the factor (arXiv:2306.15595). `dynamic`: a larger base, by the length of the sequence.
    `llama3`: only the long wavelengths (arXiv:2407.21783, section 3.4.2)."""
    factor: float
    original_max_position_embeddings: int = 0
    """Length that the model was first trained on; not used by `linear`."""
    low_freq_factor: float = 1.0
    """`llama3` only, as the next one."""
    high_freq_factor: float = 4.0


@dataclass(frozen=True, slots=True)
class Rope:
    """What the tables are made from."""

    theta: float
    dims: int
    """Dimensions of a head that are rotated; those after them pass."""
    scaling: RopeScaling | None = None


def frequencies(rope: Rope, length: int) -> Tensor:
    """Inverse frequencies, fp32 [dims / 2]: theta^(-2i / dims), stretched where the config says so."""
    scaling, theta = rope.scaling, rope.theta
    if scaling is not None and scaling.rope_type == "dynamic":
        theta *= _dynamic(scaling, length) ** (rope.dims / (rope.dims - 2))
    exponents = torch.arange(0, rope.dims, 2, dtype=torch.int64, device="cpu").float() / rope.dims
    inverse = 1.0 / theta**exponents
    if scaling is not None and scaling.rope_type == "linear":
        return inverse / scaling.factor
    return _llama3(inverse, scaling) if scaling is not None and scaling.rope_type == "llama3" else inverse


def _dynamic(scaling: RopeScaling, length: int) -> float:
    """Return how much the base grows: 1 up to the original length.

    Formula: `transformers.modeling_rope_utils._compute_dynamic_ntk_parameters`.
    """
    original = scaling.original_max_position_embeddings
    return scaling.factor * max(length, original) / original - (scaling.factor - 1)


def _llama3(inverse: Tensor, scaling: RopeScaling) -> Tensor:
    """Long wavelengths are divided by the factor, short ones kept, those between interpolated.

    Formula: `transformers.modeling_rope_utils._compute_llama3_parameters`.
    """
    length, low, high = scaling.original_max_position_embeddings, scaling.low_freq_factor, scaling.high_freq_factor
    wavelength = 2 * math.pi / inverse
    smooth = (length / wavelength - low) / (high - low)
    between = (1 - smooth) * inverse / scaling.factor + smooth * inverse
    scaled = torch.where(wavelength > length / low, inverse / scaling.factor, inverse)
    is_between = (wavelength <= length / low) & (wavelength >= length / high)
    return torch.where(is_between, between, scaled)


class Rotary:
    """Cosines and sines of the positions of a sample, made once per length and device."""

    def __init__(self, rope: Rope) -> None:
        self._rope = rope
        self._tables: dict[tuple[int, torch.device], tuple[Tensor, Tensor]] = {}

    def tables(self, part: Part, device: torch.device, positions: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """`(cos, sin)` of a part's positions, each fp32 [part.length, dims]; of `positions` [B, part.length], if they
        are given, [B, 1, part.length, dims]."""
        key = (part.total, device)
        if key not in self._tables:
            angles = torch.outer(torch.arange(part.total, dtype=torch.float32), frequencies(self._rope, part.total))
            both = torch.cat((angles, angles), dim=-1)
            self._tables[key] = (both.cos().to(device), both.sin().to(device))
        cos, sin = self._tables[key]
        if positions is not None:
            return cos[positions].unsqueeze(1), sin[positions].unsqueeze(1)
        return part.cut(cos[None])[0], part.cut(sin[None])[0]


def rotate(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn [B, heads, S, head_dim] by its positions; computed in fp32, returned in the input's dtype."""
    dims = cos.shape[-1]
    if dims < states.shape[-1]:
        return torch.cat((rotate(states[..., :dims], cos, sin), states[..., dims:]), dim=-1)
    wide = states.float()
    first, second = wide.chunk(2, dim=-1)
    return (wide * cos + torch.cat((-second, first), dim=-1) * sin).to(states.dtype)
