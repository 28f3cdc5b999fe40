"""Statistics over whole parameters, for optimizers that see only shards (B-5: results are independent of the split)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from neuron_trainer.parallel import Cut, LocalParameter


class ShardLayouts:
    """Where the shards that an optimizer updates belong; a leaf that was not given is a whole tensor."""

    def __init__(self, parameters: Sequence[LocalParameter] = ()) -> None:
        self._of: dict[Tensor, LocalParameter] = {parameter.leaf: parameter for parameter in parameters}

    def shape(self, leaf: Tensor) -> torch.Size:
        """Return the shape of the whole parameter."""
        return self._of[leaf].shape if leaf in self._of else leaf.shape

    def cuts(self, leaf: Tensor, dim: int | None = None) -> tuple[Cut, ...]:
        """Over what a sum over dimension `dim` (None: over all elements) has to go on."""
        if leaf not in self._of:
            return ()
        return self._of[leaf].cuts if dim is None else self._of[leaf].cuts_of(dim)


def square_sum(values: Tensor) -> Tensor:
    """Return the sum of the squares of the shard's elements, an fp32 scalar."""
    norm: Tensor = torch.linalg.vector_norm(values, dtype=torch.float32)
    return norm.square()
