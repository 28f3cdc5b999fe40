"""What adapters compute: y = W x + b + (alpha / r) B A dropout(x).

Adapters are children of the linear that they adapt, whose `forward` is replaced: hooks of its output, such as the sum
of tensor-parallel parts, see both in one tensor. The names of the base's parameters stay as they are.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MethodType

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from neuron_api.config import PeftConfig
from neuron_trainer.models import spec
from neuron_trainer.models.blocks.dropout import Dropout

from . import names
from .names import AdapterGroup, groups


class Adapters:
    """The adapters of a model, or of a part of it."""

    def __init__(self, config: PeftConfig, members: Sequence[AdapterGroup]) -> None:
        self.scale = config.lora_alpha / config.lora_rank
        self.groups = tuple(members)
        self.is_on = True
        """False: the model computes what its base does, with the biases that were trained."""

    @property
    def adapted(self) -> frozenset[str]:
        """Return the names of the modules that have one."""
        return frozenset(name for group in self.groups for name in group.names)


class AdapterLayout:
    """Where a backend keeps the parts of an adapter; this one: whole, in this process."""

    def states(self, states: Tensor) -> Tensor:
        """Return this process's part of the input of A."""
        return states

    def weight_a(self, weight: Tensor) -> Tensor:
        """Return what this process multiplies with."""
        return weight

    def weight_b(self, weight: Tensor) -> Tensor:
        """Return what this process multiplies with."""
        return weight

    def add(self, base: Tensor, delta: Tensor) -> Tensor:
        """Return the sum, as the base's output is placed."""
        return base + delta


SplitAdapter = Callable[[str, nn.Module], AdapterLayout]
"""A backend's: given the name of a module that has its A and B it puts them in their places, and returns how."""


def attach(module: nn.Module, config: PeftConfig, split: SplitAdapter | None = None) -> Adapters:
    """Add adapters to the targets in `module` and freeze what is not trained (works on meta)."""
    split = split or _whole
    adapters = Adapters(config, groups(module, config.target_modules))
    for group in adapters.groups:
        members = {name: module.get_submodule(name) for name in group.names}
        if isinstance(next(iter(members.values())), nn.Embedding):
            [(name, embedding)] = members.items()
            _adapt_embedding(name, embedding, config.lora_rank, adapters, split)
        else:
            _adapt_linears(members, config, adapters, split)
    adapted = adapters.adapted
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(names.is_trained(name, config.lora_bias, adapted))
    return adapters


def _whole(_: str, __: nn.Module) -> AdapterLayout:
    return AdapterLayout()


def _adapt_linears(
    members: Mapping[str, nn.Module], config: PeftConfig, adapters: Adapters, split: SplitAdapter
) -> None:
    inner, a = SharedInner(Dropout(config.lora_dropout), len(members)), None
    for part, (name, linear) in enumerate(members.items()):
        assert isinstance(linear, nn.Linear)
        like, rank = linear.weight, config.lora_rank
        a = a or LowRank(like, rank, linear.in_features)
        linear.add_module(names.A, a)
        linear.add_module(names.B, LowRank(like, linear.out_features, rank))
        linear.add_module(names.DROPOUT, inner.dropout)
        holder: nn.Module = linear
        base = linear.forward.__func__  # type: ignore[attr-defined]  # a method, the class's or another's
        holder.adapter = LinearAdapter(base, part, inner, adapters, split(name, linear))  # type: ignore[assignment]  # not a module
        holder.forward = MethodType(_adapted, linear)


class LowRank(nn.Module):
    """One of the two matrices of an adapter, without storage where the adapted linear has none."""

    def __init__(self, like: Tensor, outputs: int, inputs: int) -> None:
        super().__init__()
        self.weight = _zeros(like, outputs, inputs)


def _zeros(like: Tensor, *shape: int) -> nn.Parameter:
    """Plain, on the device and in the dtype of a tensor that may be split."""
    return nn.Parameter(torch.zeros(shape, device=like.device, dtype=like.dtype))


class SharedInner:
    """A dropout(x), computed once for all linears that share A: they are called with one tensor, in any order.

    A call with another tensor, or a second one of the same linear, computes anew: what is left of a recomputed forward
    pass that ended early is never taken up.
    """

    def __init__(self, dropout: Dropout, parts: int) -> None:
        self.dropout, self._parts = dropout, parts
        self._states: Tensor | None = None
        self._inner: Tensor | None = None
        self._served: tuple[int, ...] = ()

    def __call__(self, part: int, states: Tensor, compute: Callable[[], Tensor]) -> Tensor:
        """Return `compute()`, of this call or of one with the same states; `part` is the linear's own number."""
        inner = self._inner
        if inner is None or self._states is not states or part in self._served:
            inner, self._states, self._served = compute(), states, ()
            self._inner = inner
        self._served = (*self._served, part)
        if len(self._served) == self._parts:
            self._states, self._inner, self._served = None, None, ()
        return inner


class LinearAdapter:
    """The adapter of one linear, beside its `forward`."""

    def __init__(
        self,
        base: Callable[[nn.Module, Tensor], Tensor],
        part: int,
        inner: SharedInner,
        adapters: Adapters,
        layout: AdapterLayout,
    ) -> None:
        """`base`: the linear's own forward, a function; `part`: its number among those that share `inner`."""
        self._base, self._part, self._inner = base, part, inner
        self._adapters, self._layout = adapters, layout

    def forward(self, linear: nn.Module, states: Tensor) -> Tensor:
        """[..., in] to [..., out]."""
        base = self._base(linear, states)
        if not self._adapters.is_on:
            return base
        inner = self._inner(self._part, states, lambda: self._a(linear, states))
        delta = F.linear(inner, self._layout.weight_b(_weight(linear, names.B)))
        return self._layout.add(base, delta * self._adapters.scale)

    def _a(self, linear: nn.Module, states: Tensor) -> Tensor:
        own = self._inner.dropout(self._layout.states(states))
        return F.linear(own, self._layout.weight_a(_weight(linear, names.A)))


def _adapted(linear: nn.Module, states: Tensor) -> Tensor:
    """The `forward` of a linear with an adapter: a method, which is the same code for every layer."""
    adapter = linear.adapter
    assert isinstance(adapter, LinearAdapter)
    result: Tensor = adapter.forward(linear, states)
    return result


def _weight(linear: nn.Module, name: str) -> Tensor:
    return linear.get_parameter(f"{name}.weight")


def _adapt_embedding(name: str, embedding: nn.Module, rank: int, adapters: Adapters, split: SplitAdapter) -> None:
    """Added to the output by a hook, after those that sum it; without dropout, as in PEFT."""
    assert isinstance(embedding, nn.Embedding)
    like, (rows, width) = embedding.weight, (embedding.num_embeddings, embedding.embedding_dim)
    embedding.register_parameter(names.EMBEDDING_A, _zeros(like, rank, rows))
    embedding.register_parameter(names.EMBEDDING_B, _zeros(like, width, rank))
    layout = split(name, embedding)

    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        """Token ids int64 [B, S] and their rows [B, S, H]."""
        if not adapters.is_on:
            return output
        a, b = (layout_of(module.get_parameter(name)) for name, layout_of in parts)
        inner = F.embedding(layout.states(inputs[0]), a.T)
        return layout.add(output, F.linear(inner.to(b.dtype), b).to(output.dtype) * adapters.scale)

    parts = ((names.EMBEDDING_A, layout.weight_a), (names.EMBEDDING_B, layout.weight_b))
    embedding.register_forward_hook(add)


def init_parameter(name: str, shape: torch.Size, seed: int) -> Tensor:
    """Return the full initial value of an adapter's parameter, fp32 on the CPU; as PEFT's, whose layers say the same.

    A of a linear, [r, in]: kaiming-uniform with a = sqrt 5, which is U(-1/sqrt(in), 1/sqrt(in)); B zero. Of an
    embedding A is zero and B, [out, r], N(0, 1). Drawn by name from the run's seed, whatever the model is split over.
    """
    if name.endswith(f"{names.A}.weight"):
        bound = shape[1] ** -0.5
        return torch.empty(shape).uniform_(-bound, bound, generator=spec.generator(name, seed))
    if name.endswith(names.EMBEDDING_B):
        return torch.empty(shape).normal_(generator=spec.generator(name, seed))
    return torch.zeros(shape)
