"""Experts on hosts: rows sorted by expert, one multiplication for each expert, of just its rows.

Where groups end is read by the kernels, which costs nothing in host memory; to PyTorch they are two operators whose
shapes are static. Its own `grouped_mm` computes them, but is not called as it is: it takes fp32 when it runs and not
when it is traced (torch 2.14, `_meta_grouped_mm_common`), leaves what was in memory behind the last group, and takes no
widths that are not multiples of 16 bytes.
"""

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from .products import Rows
from .slots import Slots

_HAS_GROUPS: Final = hasattr(functional, "grouped_mm")
"""PyTorch 2.9, which the image for Trn1 has, has it under no public name."""
_ALIGNMENT: Final = 16
_DTYPES: Final = (torch.float32, torch.bfloat16)
"""Bytes of a row, and dtypes, that `grouped_mm` takes."""


@dataclass(frozen=True, slots=True)
class Grouped:
    """See `Arrangement`."""

    slots: Slots
    ends: Tensor
    """Where the rows of each expert end, int32 [E]."""

    def linear(self, values: Tensor, weights: Tensor) -> Tensor:
        """See `Arrangement`; 0 in an empty slot."""
        result: Tensor = _GroupedLinear.apply(values, weights, self.ends)
        return result


def grouped(rows: Rows) -> Grouped:
    """See `Product`. Empty slots are behind all others; there is one where a row has no expert."""
    size = len(rows.experts) if rows.is_exact else min(len(rows.experts), rows.count * rows.limit + 1)
    experts, order = rows.experts.sort(stable=True)
    each = torch.arange(rows.count, device=experts.device, dtype=experts.dtype)
    return Grouped(Slots.sorted(order, size), torch.searchsorted(experts, each, right=True, out_int32=True))


_LIBRARY: Final = torch.library.Library("neuron_trainer", "DEF")  # type: ignore[no-untyped-call]
_LIBRARY.define("grouped_linear(Tensor values, Tensor weights, Tensor ends) -> Tensor")  # type: ignore[no-untyped-call]
_LIBRARY.define("grouped_outer(Tensor first, Tensor second, Tensor ends) -> Tensor")  # type: ignore[no-untyped-call]


def _linear(values: Tensor, weights: Tensor, ends: Tensor) -> Tensor:
    """x W^T of each group: [S, in], [E, out, in] and int32 [E] to [S, out]; 0 behind the last group."""
    is_whole = weights.is_contiguous() or weights.transpose(1, 2).is_contiguous()
    if is_whole and _takes(values, *weights.shape[1:]):
        result = functional.grouped_mm(values, weights.transpose(1, 2), offs=ends)
    else:
        result = values.new_empty(len(values), weights.shape[1])
        sizes = _sizes(ends)
        parts = torch.split(values[: sum(sizes)], sizes), torch.split(result[: sum(sizes)], sizes)
        for own, part, weight in zip(*parts, weights.unbind(), strict=True):
            torch.mm(own, weight.T, out=part)
    result[int(ends[-1]) :].zero_()
    return result


def _outer(first: Tensor, second: Tensor, ends: Tensor) -> Tensor:
    """a^T b of each group: [S, out], [S, in] and int32 [E] to [E, out, in]; 0 for an empty group."""
    if second.is_contiguous() and _takes(first, first.shape[1], second.shape[1]):
        return functional.grouped_mm(first.T, second, offs=ends)
    result = first.new_empty(len(ends), first.shape[1], second.shape[1])
    sizes = _sizes(ends)
    parts = torch.split(first[: sum(sizes)], sizes), torch.split(second[: sum(sizes)], sizes)
    for own, other, product in zip(*parts, result.unbind(), strict=True):
        torch.mm(own.T, other, out=product)
    return result


def _takes(rows: Tensor, *widths: int) -> bool:
    """Return whether `grouped_mm` takes rows, and matrices of these widths."""
    is_aligned = not any(width * rows.element_size() % _ALIGNMENT for width in widths)
    return _HAS_GROUPS and is_aligned and rows.is_contiguous() and rows.dtype in _DTYPES


def _sizes(ends: Tensor) -> list[int]:
    """Return the rows of each group."""
    places: list[int] = ends.tolist()
    return [end - begin for begin, end in zip([0, *places], places, strict=False)]


_LIBRARY.impl("grouped_linear", _linear, "CPU")  # type: ignore[no-untyped-call]
_LIBRARY.impl("grouped_outer", _outer, "CPU")  # type: ignore[no-untyped-call]


@torch.library.register_fake("neuron_trainer::grouped_linear", lib=_LIBRARY)  # type: ignore[untyped-decorator]
def _(values: Tensor, weights: Tensor, _: Tensor) -> Tensor:
    return values.new_empty(len(values), weights.shape[1])


@torch.library.register_fake("neuron_trainer::grouped_outer", lib=_LIBRARY)  # type: ignore[untyped-decorator]
def _(first: Tensor, second: Tensor, ends: Tensor) -> Tensor:
    return first.new_empty(len(ends), first.shape[1], second.shape[1])


class _GroupedLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, weights: Tensor, ends: Tensor) -> Tensor:
        # Of frozen weights no gradient is computed, and the values, a row for each assignment, need not stay.
        of_values, of_weights, _ = ctx.needs_input_grad
        ctx.save_for_backward(values if of_weights else None, weights if of_values else None, ends)
        result: Tensor = torch.ops.neuron_trainer.grouped_linear(values, weights, ends)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        values, weights, ends = ctx.saved_tensors
        of_values, of_weights, _ = ctx.needs_input_grad
        operators = torch.ops.neuron_trainer
        return (
            operators.grouped_linear(gradient, weights.transpose(1, 2), ends) if of_values else None,
            operators.grouped_outer(gradient, values, ends) if of_weights else None,
            None,
        )
