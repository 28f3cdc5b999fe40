"""Experts on hosts: rows sorted by expert, one multiplication for each expert, of just its rows.

Sizes are read by the kernels, which costs nothing in host memory; to PyTorch they are two operators whose shapes are
static. Its own `grouped_mm` takes fp32 when it runs, and not when it is traced (torch 2.14, `_meta_grouped_mm_common`),
and neither takes widths that are not multiples of 16 bytes.
"""

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from .products import Rows
from .slots import Slots, number, slots_from


@dataclass(frozen=True, slots=True)
class Grouped:
    """See `Arrangement`."""

    slots: Slots
    sizes: Tensor
    """Rows of each expert, int64 [E]."""

    def linear(self, values: Tensor, weights: Tensor) -> Tensor:
        """See `Arrangement`; 0 in an empty slot."""
        result: Tensor = _GroupedLinear.apply(values, weights, self.sizes)
        return result


def grouped(rows: Rows) -> Grouped:
    """See `Product`. Empty slots are behind all others; there is one where a row has no expert."""
    size = len(rows.experts) if rows.is_exact else min(len(rows.experts), rows.count * rows.limit + 1)
    places, sizes = number(rows.experts, rows.count)
    slot = slots_from(sizes.cumsum(dim=0) - sizes, rows.experts, places, size - 1)
    return Grouped(Slots.dense(slot, size), sizes)


_LIBRARY: Final = torch.library.Library("neuron_trainer", "DEF")  # type: ignore[no-untyped-call]
_LIBRARY.define("grouped_linear(Tensor values, Tensor weights, Tensor sizes) -> Tensor")  # type: ignore[no-untyped-call]
_LIBRARY.define("grouped_outer(Tensor first, Tensor second, Tensor sizes) -> Tensor")  # type: ignore[no-untyped-call]


def _linear(values: Tensor, weights: Tensor, sizes: Tensor) -> Tensor:
    """x W^T of each group: [S, in], [E, out, in] and int64 [E] to [S, out]; 0 behind the last group."""
    result = values.new_empty(len(values), weights.shape[1])
    counts = _with_rest(sizes, len(values))
    *parts, rest = torch.split(result, counts)
    for part, own, weight in zip(parts, torch.split(values, counts), weights.transpose(1, 2).unbind(), strict=False):
        torch.mm(own, weight, out=part)
    rest.zero_()
    return result


def _outer(first: Tensor, second: Tensor, sizes: Tensor) -> Tensor:
    """a^T b of each group: [S, out], [S, in] and int64 [E] to [E, out, in]; 0 for an empty group."""
    result = first.new_empty(len(sizes), first.shape[1], second.shape[1])
    counts = _with_rest(sizes, len(first))
    for product, rows, other in zip(
        result.unbind(), torch.split(first.T, counts, 1), torch.split(second, counts), strict=False
    ):
        torch.mm(rows, other, out=product)
    return result


def _with_rest(sizes: Tensor, total: int) -> list[int]:
    counts: list[int] = sizes.tolist()
    return [*counts, total - sum(counts)]


_LIBRARY.impl("grouped_linear", _linear, "CPU")  # type: ignore[no-untyped-call]
_LIBRARY.impl("grouped_outer", _outer, "CPU")  # type: ignore[no-untyped-call]


@torch.library.register_fake("neuron_trainer::grouped_linear", lib=_LIBRARY)  # type: ignore[untyped-decorator]
def _(values: Tensor, weights: Tensor, _: Tensor) -> Tensor:
    return values.new_empty(len(values), weights.shape[1])


@torch.library.register_fake("neuron_trainer::grouped_outer", lib=_LIBRARY)  # type: ignore[untyped-decorator]
def _(first: Tensor, second: Tensor, sizes: Tensor) -> Tensor:
    return first.new_empty(len(sizes), first.shape[1], second.shape[1])


class _GroupedLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, weights: Tensor, sizes: Tensor) -> Tensor:
        # Of frozen weights no gradient is computed, and the values, a row for each assignment, need not stay.
        of_values, of_weights, _ = ctx.needs_input_grad
        ctx.save_for_backward(values if of_weights else None, weights if of_values else None, sizes)
        result: Tensor = torch.ops.neuron_trainer.grouped_linear(values, weights, sizes)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        values, weights, sizes = ctx.saved_tensors
        of_values, of_weights, _ = ctx.needs_input_grad
        operators = torch.ops.neuron_trainer
        return (
            operators.grouped_linear(gradient, weights.transpose(1, 2), sizes) if of_values else None,
            operators.grouped_outer(gradient, values, sizes) if of_weights else None,
            None,
        )
