"""LoRA beside linears that are split over tensor-parallel processes: A and B are whole or cut as the weight is.

States come whole to the linears of a block, and each process computes a part of their gradient anyway, so there is no
collective but those that the linears have; gradients of what all processes hold are summed once a step.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from neuron_trainer.models.lora import AdapterLayout, SplitAdapter, names
from neuron_trainer.models.roles import Role

from .boundaries import Boundaries
from .tensor_parallel import Layout, OwnHeads, TensorParallel


def split(roles: Mapping[str, Role], tensor: TensorParallel) -> SplitAdapter:
    """Return what splits the adapter of a module by its name; call after `TensorParallel.apply` (works on meta)."""

    def place(name: str, module: nn.Module) -> AdapterLayout:
        layouts = tensor.layouts
        if roles.get(name) in (Role.VOCABULARY_IN, Role.POSITIONS):
            shared = Layout(is_partial=tensor.boundaries.is_sequence)
            layouts[module.get_parameter(names.EMBEDDING_A)] = layouts[module.get_parameter(names.EMBEDDING_B)] = shared
            # Positions are the own part already when the embedding is called.
            return OfEmbedding(tensor.boundaries) if roles[name] is Role.VOCABULARY_IN else AdapterLayout()
        a, b = (module.get_parameter(f"{part}.weight") for part in (names.A, names.B))
        if roles.get(name) is Role.ROW:
            layouts[a], layouts[b] = Layout(dim=1), Layout(is_partial=True)
            tensor.separate(module.get_submodule(names.DROPOUT))
            return AdapterLayout()  # a part of a sum, as the output of the linear
        heads = tensor.own_heads(module)
        layouts[a], layouts[b] = Layout(is_partial=True), Layout(is_partial=True) if heads else Layout(dim=0)
        return OfSharedHeads(heads) if heads else AdapterLayout()

    return place


@dataclass(frozen=True, slots=True)
class OfSharedHeads(AdapterLayout):
    """Whole weights; each process computes the heads that its queries read."""

    heads: OwnHeads

    def weight_b(self, weight: Tensor) -> Tensor:
        """Return the rows of the own heads."""
        return self.heads.rows(weight)


@dataclass(frozen=True, slots=True)
class OfEmbedding(AdapterLayout):
    """Whole, beside an embedding that is split over the vocabulary."""

    boundaries: Boundaries

    def states(self, states: Tensor) -> Tensor:
        """Return the token ids of the own part of the sequence."""
        return self.boundaries.own(states)
