"""Adapters and the weights that they are added to."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from neuron_trainer.models.lora import names
from neuron_trainer.parallel import LocalParameter


class Pair:
    """The weights of one adapter, and which weight of the base they are added to."""

    def __init__(self, weight: str, a: str, b: str) -> None:
        self.weight, self.a, self.b = weight, a, b

    @property
    def is_embedding(self) -> bool:
        """Return whether the rows of the weight are tokens."""
        return self.b.endswith(names.EMBEDDING_B)

    def delta(self, a: Tensor, b: Tensor, rows: slice, columns: slice) -> Tensor:
        """Return a part of B A as the weight has it, fp32; `a` and `b` whole."""
        first, second = (a.T, b.T) if self.is_embedding else (b, a)
        return first.float()[rows] @ second.float()[:, columns]


def pairs(parameters: Sequence[str]) -> Iterator[Pair]:
    """Yield the adapters among the parameters of a model."""
    every = set(parameters)
    for name in parameters:
        if name.endswith(f".{names.B}.weight"):
            module = name.removesuffix(f".{names.B}.weight")
            yield Pair(f"{module}.weight", names.shared_a(module, every), name)
        elif name.endswith(f".{names.EMBEDDING_B}"):
            module = name.removesuffix(f".{names.EMBEDDING_B}")
            yield Pair(f"{module}.weight", f"{module}.{names.EMBEDDING_A}", name)


@torch.no_grad()
def merged(frozen: Sequence[LocalParameter], trained: Mapping[str, LocalParameter], scale: float) -> dict[str, Tensor]:
    """Return W + (alpha / r) B A of the adapted weights by name, this process's part, in the weight's dtype.

    A collective: A and B are gathered, one pair after the other.
    """
    of_weight = {pair.weight: pair for pair in pairs(list(trained))}
    result = {}
    for parameter in frozen:
        if (pair := of_weight.get(parameter.name)) is not None:
            local, (row, column) = parameter.leaf.detach(), parameter.offset
            rows, columns = slice(row, row + local.shape[0]), slice(column, column + local.shape[1])
            delta = pair.delta(trained[pair.a].gathered(), trained[pair.b].gathered(), rows, columns)
            result[parameter.name] = (local.float() + scale * delta).to(local.dtype)
    return result
