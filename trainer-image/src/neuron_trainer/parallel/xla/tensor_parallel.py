"""Tensor and sequence parallelism by roles (B-6): which part of a parameter a process has, and hooks with collectives.

Modules stay plain and keep their names. The arithmetic is that of `native`, whose texts say why it is as it is.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MethodType
from typing import Any, Final

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from neuron_api.derive import sharding
from neuron_api.derive.sharding import heads_of
from neuron_trainer.models.blocks.dropout import Dropout
from neuron_trainer.models.blocks.moe.experts import WIDTH, Experts
from neuron_trainer.models.roles import Role

from .boundaries import Boundaries
from .replicas import numbers

TENSOR_STREAM: Final = 2718
"""Offset of the random streams of tensor-parallel ranks (B-19)."""


@dataclass(slots=True)
class Layout:
    """How one parameter is divided over tensor- and expert-parallel processes."""

    dim: int | None = None
    """That is cut over tensor-parallel processes; None: each has all of it."""
    is_partial: bool = False
    """Whether each of these computes a part of the gradient of what all have."""
    is_expert: bool = False
    """Whether the first dimension is cut over expert-parallel processes."""


Layouts = dict[nn.Parameter, Layout]


class TensorParallel:
    """Hooks for the modules of one block; works on meta."""

    def __init__(
        self, boundaries: Boundaries, copies: int | None, layouts: Layouts, is_recomputed: Callable[[nn.Module], bool]
    ) -> None:
        """`copies` of each key/value head (`kv_replicator`); None: as many as needed. `layouts` are filled in.
        `is_recomputed`: whether nothing of a module is kept for the backward pass anyway."""
        self.boundaries, self.layouts = boundaries, layouts
        self._copies, self._is_recomputed = copies, is_recomputed
        self._keeps_nothing = False

    def apply(self, module: nn.Module, roles: Mapping[str, Role]) -> None:
        """Give each module that has a role its part and its hooks."""
        recomputed = [name for name, child in module.named_modules() if self._is_recomputed(child)]
        for name, role in roles.items():
            child = module.get_submodule(name)
            self._keeps_nothing = any(f"{name}.".startswith(f"{outer}.") for outer in recomputed)
            if role is Role.KEY_VALUE:
                self._key_value(child, module.get_submodule(name.rpartition(".")[0]))
            else:
                self._split(child, role)

    def _split(self, module: nn.Module, role: Role) -> None:
        match role:
            case Role.VOCABULARY_IN:
                self._cut(module, 0)
                holder: nn.Module = module
                holder.forward = MethodType(partial(_look_up, replace(self.boundaries, dtype=None)), module)
            case Role.COLUMN | Role.VOCABULARY_OUT:
                self._cut(module, 0)
            case Role.ROW:
                self._row(module)
            case Role.NORM | Role.POSITIONS:
                self._share(module, is_partial=self.boundaries.is_sequence)
            case Role.EXPERTS:
                self._experts(module)
            case Role.DROPOUT_INSIDE:
                self.separate(module)
            case Role.DROPOUT if self.boundaries.is_sequence:
                self.separate(module)
        door = self._door(module, role)
        is_block = role is Role.BLOCK and door == self._enter
        if is_block and self.boundaries.is_sequence and not self._keeps_nothing:
            module.forward = self.boundaries.around(module.forward)
        elif door is not None:
            module.register_forward_pre_hook(door, prepend=True)

    def _door(self, module: nn.Module, role: Role) -> Callable[[nn.Module, tuple[Any, ...]], Any] | None:
        """Return what the inputs of a module go through; further arguments stay."""
        match role:
            case Role.VOCABULARY_OUT:
                return self._enter
            case Role.BLOCK:  # not in each of its linears
                is_routed = any(isinstance(child, Experts) for child in module.children())
                return self._enter_alike if is_routed else self._enter
            case Role.EXPERTS:
                return self._enter_experts
            case Role.POSITIONS:
                return self._own_positions
            case _:
                return None

    def separate(self, module: nn.Module) -> None:
        """Masks of its own for each process, which holds another part of the tensor than its peers."""
        assert isinstance(module, Dropout)
        module.stream = TENSOR_STREAM + self.boundaries.axis.rank

    def own_heads(self, linear: nn.Module) -> "OwnHeads | None":
        """Return the heads that a linear with shared heads computes; None for another module."""
        heads = getattr(linear, "own_heads", None)
        return heads if isinstance(heads, OwnHeads) else None

    def _layout(self, parameter: nn.Parameter) -> Layout:
        return self.layouts.setdefault(parameter, Layout())

    def _cut(self, module: nn.Module, dim: int) -> None:
        for parameter in module.parameters(recurse=False):
            self._layout(parameter).dim = dim

    def _share(self, module: nn.Module, *, is_partial: bool) -> None:
        for parameter in module.parameters(recurse=False):
            self._layout(parameter).is_partial = is_partial

    def _key_value(self, linear: nn.Module, attention: nn.Module) -> None:
        """Split as a column where there are heads for every process, else shared (see `OwnHeads`)."""
        assert isinstance(linear, nn.Linear)
        assert isinstance(attention.head_dim, int)
        axis, count = self.boundaries.axis, linear.out_features // attention.head_dim
        if count % axis.size == 0:
            self._cut(linear, 0)
            return
        copies = sharding.replication(count, axis.size, self._copies) or 1
        holder: nn.Module = linear
        holder.own_heads = OwnHeads(count, tuple(heads_of(axis.rank, axis.size, count, copies)))  # type: ignore[assignment]  # not a module
        holder.forward = MethodType(_of_own_heads, linear)
        self._share(linear, is_partial=True)

    def _row(self, linear: nn.Module) -> None:
        self._layout(linear.get_parameter("weight")).dim = 1
        bias = linear.bias
        if isinstance(bias, nn.Parameter):
            self._layout(bias).is_partial = self.boundaries.is_sequence
            holder: nn.Module = linear
            holder.forward = MethodType(_without_bias, linear)
        linear.register_forward_hook(self._leave_row)

    def _experts(self, experts: nn.Module) -> None:
        for name, parameter in experts.named_parameters(recurse=False):
            self._layout(parameter).dim = WIDTH[name]
        experts.register_forward_hook(self._leave)

    def _enter(self, _: nn.Module, inputs: tuple[Any, ...]) -> Any:
        return self.boundaries.enter(inputs[0]), *inputs[1:]

    def _enter_alike(self, _: nn.Module, inputs: tuple[Any, ...]) -> Any:
        return self.boundaries.enter_alike(inputs[0]), *inputs[1:]

    def _enter_experts(self, _: nn.Module, inputs: tuple[Any, ...]) -> Any:
        states, affinities, *rest = inputs
        return self.boundaries.share(states), self.boundaries.share(affinities), *rest

    def _own_positions(self, _: nn.Module, inputs: tuple[Any, ...]) -> Any:
        return (self.boundaries.own(inputs[0]),)

    def _leave(self, _: nn.Module, __: Any, output: Tensor) -> Tensor:
        return self.boundaries.leave(output)

    def _leave_row(self, linear: nn.Module, _: Any, output: Tensor) -> Tensor:
        states = self.boundaries.leave(output)
        bias = linear.bias
        return states + bias.to(states.dtype) if isinstance(bias, Tensor) else states


def _look_up(boundaries: Boundaries, embedding: nn.Embedding, ids: Tensor) -> Tensor:
    """Token ids int64 [B, S] to states between blocks; rows of other processes are multiplied by 0, and summed: one
    value and zeros, exact in their own dtype."""
    local = embedding.weight
    places = ids - boundaries.axis.first(len(local), ids.device)
    is_own = (places >= 0) & (places < len(local))
    rows = F.embedding(places * is_own, local) * is_own.unsqueeze(-1).to(local.dtype)
    return boundaries.leave(rows)


def _without_bias(linear: nn.Linear, states: Tensor) -> Tensor:
    """A part of the sum, to which the bias is added once."""
    return F.linear(states, linear.weight)


def _of_own_heads(linear: nn.Linear, states: Tensor) -> Tensor:
    """[..., in], whole, to [..., own heads x head size]."""
    heads = linear.own_heads
    assert isinstance(heads, OwnHeads)
    bias = None if linear.bias is None else heads.rows(linear.bias)
    return F.linear(states, heads.rows(linear.weight), bias)


@dataclass(frozen=True, slots=True)
class OwnHeads:
    """Which heads of a whole key or value weight this process computes: those that its queries read."""

    heads: int
    """Of the whole weight."""
    own: tuple[int, ...]

    def rows(self, parameter: Tensor) -> Tensor:
        """Return the rows of the own heads, [heads x head size, ...] to [own heads x head size, ...]."""
        by_head = parameter.view(self.heads, -1, *parameter.shape[1:])
        return by_head.index_select(0, numbers(self.own, parameter.device, self.heads)).flatten(0, 1)
