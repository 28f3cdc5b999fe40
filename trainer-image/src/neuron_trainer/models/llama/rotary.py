"""Rotary position embedding (arXiv:2104.09864) in the half-split layout of `transformers`, tables always fp32."""

import math

import torch
from torch import Tensor

from .config import LlamaConfig, RopeScaling


def frequencies(config: LlamaConfig) -> Tensor:
    """Inverse frequencies, fp32 [head_dim / 2]: theta^(-2i / head_dim), stretched where the config says so."""
    exponents = torch.arange(0, config.head_dim, 2, dtype=torch.int64, device="cpu").float() / config.head_dim
    inverse = 1.0 / config.rope_theta**exponents
    return inverse if config.rope_scaling is None else _llama3(inverse, config.rope_scaling)


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
    """Cosines and sines of positions 0..S-1, made once per length and device."""

    def __init__(self, config: LlamaConfig) -> None:
        self._inverse = frequencies(config)
        self._tables: dict[tuple[int, torch.device], tuple[Tensor, Tensor]] = {}

    def tables(self, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """`(cos, sin)`, each fp32 [S, head_dim]."""
        key = (length, device)
        if key not in self._tables:
            angles = torch.outer(torch.arange(length, dtype=torch.float32), self._inverse)
            both = torch.cat((angles, angles), dim=-1)
            self._tables[key] = (both.cos().to(device), both.sin().to(device))
        return self._tables[key]


def rotate(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn [B, heads, S, head_dim] by its positions; computed in fp32, returned in the input's dtype."""
    wide = states.float()
    first, second = wide.chunk(2, dim=-1)
    return (wide * cos + torch.cat((-second, first), dim=-1) * sin).to(states.dtype)
