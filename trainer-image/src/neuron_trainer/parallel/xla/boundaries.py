"""Where states go from one way of being split to another, and their gradients back: a collective each way.

Sums of the forward pass are in the dtype of `parallel_layers_reduce_dtype` (B-3), and so are those of gradients at the
same places; the result has the dtype that came.
"""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from neuron_trainer.parallel.axis import Axis

SEQUENCE: Final = 1
"""Dimension of the tokens of states [B, S, H]."""

Collective = Callable[[Tensor], Tensor]


class _Crossing(torch.autograd.Function):
    """One function of the values and another of their gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, forward: Collective, backward: Collective) -> Tensor:
        ctx.of_gradient = backward
        return forward(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return ctx.of_gradient(gradient), None, None


def _cross(values: Tensor, forward: Collective, backward: Collective) -> Tensor:
    result: Tensor = _Crossing.apply(values, forward, backward)
    return result


def _same(values: Tensor) -> Tensor:
    return values.view_as(values)


@dataclass(frozen=True, slots=True)
class Boundaries:
    """Of blocks that tensor parallelism splits."""

    axis: Axis
    is_sequence: bool
    """Whether states between blocks are split over the sequence; else each process has all."""
    dtype: torch.dtype | None
    """Of sums; None: that of what is summed."""

    def enter(self, states: Tensor) -> Tensor:
        """States between blocks to whole ones, of whose gradient each process then has a part."""
        if self.is_sequence:
            return _cross(states, self._gather, self._scatter)
        return _cross(states, _same, self._sum)

    def around(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        """Return the `forward` of a block whose first argument is states between blocks: it is given whole ones, which
        are not kept for the backward pass."""

        def with_gathered(states: Tensor, *args: Any) -> Any:
            whole = self.enter(states)
            own = RegatheredInput(self.axis, states, whole)
            with torch.autograd.graph.saved_tensors_hooks(own.save, own.restore):
                return forward(whole, *args)

        return with_gathered

    def enter_alike(self, states: Tensor) -> Tensor:
        """The same where each process computes the whole gradient."""
        if self.is_sequence:
            return _cross(states, self._gather, self._part)
        return states

    def share(self, whole: Tensor) -> Tensor:
        """Whole values, of whose gradient each process has a part from here on."""
        return _cross(whole, _same, self._sum)

    def leave(self, parts: Tensor) -> Tensor:
        """Parts of a sum to states between blocks."""
        if self.is_sequence:
            return _cross(parts, self._scatter, self._gather)
        return _cross(parts, self._sum, _same)

    def own(self, whole: Tensor) -> Tensor:
        """Return what all have, as it is between blocks."""
        return self._part(whole) if self.is_sequence else whole

    def _gather(self, states: Tensor) -> Tensor:
        return self.axis.gather(states, SEQUENCE)

    def _part(self, states: Tensor) -> Tensor:
        return self.axis.part(states, SEQUENCE)

    def _sum(self, parts: Tensor) -> Tensor:
        return self.axis.sum(parts.to(self.dtype or parts.dtype)).to(parts.dtype)

    def _scatter(self, parts: Tensor) -> Tensor:
        return self.axis.scatter(parts.to(self.dtype or parts.dtype), SEQUENCE).to(parts.dtype)


class RegatheredInput:
    """Keeps, of states that were gathered for a block, this process's part: whoever saves the whole for the backward
    pass is given it there by another all-gather (arXiv:2205.05198, 4.2.2), all of a block by one."""

    def __init__(self, axis: Axis, part: Tensor, whole: Tensor) -> None:
        self._axis, self._part = axis, part.detach()
        self._whole: Tensor | None = None
        self._key = weakref.ref(whole)
        self._savers = 0

    def save(self, tensor: Tensor) -> Tensor | torch.Size:
        """Return what is kept of a tensor: of the whole states, in whatever shape, that shape alone."""
        whole = self._key()
        is_whole = whole is not None and (tensor is whole or tensor._base is whole)
        if whole is None or not is_whole or tensor.numel() != whole.numel() or not tensor.is_contiguous():
            return tensor
        self._savers += 1
        return tensor.shape

    def restore(self, saved: Tensor | torch.Size) -> Tensor:
        """Return the tensor; the states that were gathered again live until the last one has asked."""
        if isinstance(saved, Tensor):
            return saved
        whole = self._axis.gather(self._part, SEQUENCE) if self._whole is None else self._whole
        self._savers -= 1
        self._whole = whole if self._savers > 0 else None
        return whole.reshape(saved)


def gather_sequence(parts: Tensor, axis: Axis) -> Tensor:
    """[B, S / n, ...] of every process to [B, S, ...] on each; the gradients of a part are summed."""
    return _cross(parts, lambda own: axis.gather(own, SEQUENCE), lambda whole: axis.scatter(whole, SEQUENCE))
