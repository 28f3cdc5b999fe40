"""Gradients: summed over micro-batches on each process, then once a step over processes; and weights on their way back.

Without zero1 each process has the mean of all gradients; with it that of its own rows, and the weights are gathered
after the update. Collectives are of buckets, filled in the model's order. What this stack is known to compute wrongly
is a bucket that is too large (upstream-facts.md#xla-buckets).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import torch
from torch import Tensor

from neuron_api.derive.precision import PrecisionPolicy
from neuron_api.platform.environment import XLA_CAP_MB
from neuron_trainer import rounding
from neuron_trainer.parallel.axis import Axis
from neuron_trainer.parallel.dtypes import TORCH

from .parameters import XlaParameter

_MEGA: Final = 10**6
_LIMIT: Final = XLA_CAP_MB * _MEGA


class Gradients:
    """Of the parameters that are updated."""

    def __init__(
        self, parameters: Sequence[XlaParameter], policy: PrecisionPolicy, tensor: Axis | None, bucket: int | None
    ) -> None:
        """`bucket`: megabytes (`bucket_size_collectives`)."""
        self._parameters, self._tensor = parameters, tensor
        self._dtype = TORCH[policy.accumulation]
        self._limit = min(bucket or XLA_CAP_MB, XLA_CAP_MB) * _MEGA
        self._used: set[str] = set()
        """Names of the parameters that a micro-batch of this step has given a gradient."""

    def begin(self, micro_batches: int) -> None:
        """Begin a step. Sums of several begin with zeros, so that the first micro-batch is the same program as all
        others: 0 + g is g."""
        self._used.clear()
        if micro_batches > 1:
            for parameter in self._parameters:
                parameter.total = self._zeros(parameter)

    @torch.no_grad()
    def add(self) -> None:
        """Take the gradients of a micro-batch from autograd."""
        for parameter in self._parameters:
            gradient = parameter.used.grad
            if gradient is not None:
                own = gradient.to(self._dtype)
                parameter.total = own if parameter.total is None else parameter.total.add_(own)
                parameter.used.grad = None
                self._used.add(parameter.name)

    @torch.no_grad()
    def reduce(self, micro_batches: int) -> None:
        """Give each leaf the mean over micro-batches and data-parallel processes, in its dtype."""
        for parameter in self._parameters:
            if parameter.name not in self._used:  # by no micro-batch: no gradient is another thing than one of 0
                parameter.total = None
        for axis, bucket in _buckets(self._parameters, _whole_over, self._limit, self._dtype):
            self._sum(axis, bucket)
        for axis, bucket in _buckets(self._parameters, _shards_over, self._limit, self._dtype):
            self._scatter(axis, bucket)
        for parameter in self._parameters:
            if parameter.total is not None and parameter.samples * micro_batches > 1:
                parameter.total = parameter.total / (parameter.samples * micro_batches)
        if self._tensor is not None:
            partial = [parameter for parameter in self._parameters if parameter.layout.is_partial]
            for _, bucket in _buckets(partial, lambda _: self._tensor, self._limit, self._dtype):
                self._sum(self._tensor, bucket)
        for parameter in self._parameters:
            if parameter.total is not None:
                parameter.leaf.grad = parameter.total.to(parameter.leaf.dtype)
                parameter.total = None

    def _total(self, parameter: XlaParameter) -> Tensor:
        """Return the sum so far; 0 where no micro-batch has used the parameter, since others' may have."""
        if parameter.total is None:
            parameter.total = self._zeros(parameter)
        return parameter.total

    def _zeros(self, parameter: XlaParameter) -> Tensor:
        return torch.zeros_like(parameter.used, dtype=self._dtype)

    def _sum(self, axis: Axis, bucket: Sequence[XlaParameter]) -> None:
        totals = [self._total(parameter) for parameter in bucket]
        row = torch.cat([total.reshape(-1) for total in totals])
        summed = torch.cat([axis.sum(piece) for piece in torch.split(row, max(1, self._limit // row.element_size()))])
        parts = torch.split(summed, [total.numel() for total in totals])
        for parameter, total, part in zip(bucket, totals, parts, strict=True):
            parameter.total = part.view(total.shape)

    def _scatter(self, axis: Axis, bucket: Sequence[XlaParameter]) -> None:
        dims = [parameter.sharded.dim for parameter in bucket if parameter.sharded is not None]
        rows = [self._total(parameter).movedim(dim, 0) for parameter, dim in zip(bucket, dims, strict=True)]
        columns = torch.cat([each.reshape(axis.size, -1) for each in rows], dim=1)
        own = torch.cat([axis.scatter(piece, 0)[0] for piece in _pieces(columns, axis, self._limit)])
        parts = torch.split(own, [each.numel() // axis.size for each in rows])
        for parameter, each, part, dim in zip(bucket, rows, parts, dims, strict=True):
            parameter.total = part.view(-1, *each.shape[1:]).movedim(0, dim)


class ComputeWeights:
    """What modules compute with, made from the leaves where those are something else: masters, or parts."""

    def __init__(self, parameters: Sequence[XlaParameter], policy: PrecisionPolicy, seed: int) -> None:
        self._parameters = [parameter for parameter in parameters if not parameter.is_own_storage]
        self._policy, self._seed = policy, seed
        self._is_current = False

    def expire(self) -> None:
        """Forget what was written: the leaves have changed."""
        self._is_current = False

    @torch.no_grad()
    def write(self, updates: int) -> bool:
        """Write the weights as after so many updates; return False where that has been done. A collective."""
        if self._is_current:
            return False
        self._is_current = True
        for parameter in self._parameters:
            if parameter.sharded is None:
                parameter.used.copy_(self._rounded(parameter, updates))
        for axis, bucket in _buckets(self._parameters, _shards_over, _LIMIT):
            self._gather(axis, bucket, updates)
        return bool(self._parameters)

    def _rounded(self, parameter: XlaParameter, updates: int) -> Tensor:
        leaf = parameter.leaf.detach()
        if self._policy.has_masters and self._policy.is_stochastic:
            key = rounding.key(self._seed, updates, parameter.name)
            return rounding.stochastic(leaf, parameter.place, key)
        return leaf.to(parameter.used.dtype)

    def _gather(self, axis: Axis, bucket: Sequence[XlaParameter], updates: int) -> None:
        parts = []
        for parameter in bucket:
            assert parameter.sharded is not None
            dim = parameter.sharded.dim
            parts.append(self._rounded(parameter, updates).movedim(dim, 0))
        row = torch.cat([part.reshape(-1) for part in parts])[None]
        every = torch.cat([axis.gather(piece, 0) for piece in _pieces(row, axis, _LIMIT)], dim=1)
        for parameter, part, own in zip(
            bucket, parts, torch.split(every, [part.numel() for part in parts], dim=1), strict=True
        ):
            assert parameter.sharded is not None
            dim = parameter.sharded.dim
            parameter.used.copy_(own.reshape(-1, *part.shape[1:]).movedim(0, dim))


def _whole_over(parameter: XlaParameter) -> Axis | None:
    return parameter.data if parameter.sharded is None else None


def _shards_over(parameter: XlaParameter) -> Axis | None:
    return None if parameter.sharded is None else parameter.sharded.axis


def _buckets(
    parameters: Iterable[XlaParameter],
    axis_of: Callable[[XlaParameter], Axis | None],
    limit: int,
    dtype: torch.dtype | None = None,
) -> Iterator[tuple[Axis, list[XlaParameter]]]:
    """Yield parameters that share an axis, of so many bytes together, in the model's order; `dtype`: in which they are
    sent, by default that of computing."""
    members: dict[Axis, list[XlaParameter]] = {}
    for parameter in parameters:
        if (axis := axis_of(parameter)) is not None:
            members.setdefault(axis, []).append(parameter)
    for axis, every in members.items():
        bucket: list[XlaParameter] = []
        filled = 0
        for parameter in every:
            size = parameter.used.numel() * (dtype or parameter.used.dtype).itemsize
            if bucket and filled + size > limit:
                yield axis, bucket
                bucket, filled = [], 0
            bucket.append(parameter)
            filled += size
        yield axis, bucket


def _pieces(columns: Tensor, axis: Axis, limit: int) -> Sequence[Tensor]:
    """Columns of so many bytes over all processes: of a parameter that is larger than a bucket, several."""
    width = max(1, limit // (axis.size * columns.element_size()))
    return torch.split(columns, width, dim=1)
