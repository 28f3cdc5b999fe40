"""`data.data_prefix`: which token files, with which weights, for which part."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuron_api.findings.finding import error
from neuron_trainer.data.paths import expanded
from neuron_trainer.errors import InputError

from .splits import PARTS


@dataclass(frozen=True, slots=True)
class BlendSource:
    """The data sets of one part."""

    prefixes: tuple[Path, ...]
    weights: tuple[float, ...] | None
    """As given; None for a prefix alone. One prefix with a weight is a blend of one."""
    is_split: bool
    """The part has some of the documents (`splits_string`), not all."""

    @property
    def normalised(self) -> NDArray[np.float64]:
        """Weights that add up to 1, float64."""
        weights = np.array(self.weights or (1.0,), np.float64)
        return np.asarray(weights / np.sum(weights))


def sources(data_prefix: Any) -> dict[str, BlendSource]:
    """Return the sources by part; a part that a mapping leaves out has none. Raises `InputError`."""
    if isinstance(data_prefix, Mapping):
        return {part: _source(data_prefix[part], is_split=False) for part in PARTS if data_prefix.get(part)}
    return dict.fromkeys(PARTS, _source(data_prefix, is_split=True))


def _source(value: Any, *, is_split: bool) -> BlendSource:
    if isinstance(value, str):
        return BlendSource((_path(value),), None, is_split)
    items = list(value) if isinstance(value, Sequence) else []
    if len(items) == 1 and isinstance(items[0], str):
        return BlendSource((_path(items[0]),), None, is_split)
    try:
        pairs = [(float(weight), _path(str(path))) for weight, path in zip(items[::2], items[1::2], strict=True)]
    except ValueError:
        pairs = []
    # A set of weight 0 gives nothing; Megatron may take a sample of it when others are exactly on their share.
    used = [(weight, path) for weight, path in pairs if weight > 0]
    if not used:
        message = f"{value!r} is not a prefix and not a list of weights and prefixes."
        raise InputError([error("data.data_prefix", message, "Write [weight, prefix, weight, prefix].")])
    return BlendSource(tuple(path for _, path in used), tuple(weight for weight, _ in used), is_split)


def _path(text: str) -> Path:
    return expanded(text)
