"""LoRA beside linears that are split over tensor-parallel processes.

Of a column A is whole and B split by rows, as the weight is; of a row A is split by columns and B whole: its output is
a part of a sum, which is reduced with the linear's own. Adapters compute with local tensors, so there is no collective
but those that the linears have; gradients of what all processes hold are parts of a sum, which is taken once a step
(`parameters.move_gradients`, or FSDP).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.placement_types import Placement

from neuron_trainer.models.lora import AdapterLayout, SplitAdapter, names
from neuron_trainer.models.roles import Role

from .reduction import with_partial_gradient
from .shared_heads import OwnHeads, own_heads
from .tensor_parallel import separate


def split(roles: Mapping[str, Role], mesh: DeviceMesh, *, sequence_parallel: bool) -> SplitAdapter:
    """Return what splits the adapter of a module by its name; call after `tensor_parallel.apply` (works on meta)."""

    def place(name: str, module: nn.Module) -> AdapterLayout:
        match roles.get(name):
            case Role.VOCABULARY_IN | Role.POSITIONS:
                _distribute(module, names.EMBEDDING_A, mesh, Replicate())
                _distribute(module, names.EMBEDDING_B, mesh, Replicate())
                return OfEmbedding(mesh, is_split=sequence_parallel, is_cut=roles[name] is Role.POSITIONS)
            case Role.ROW:
                _distribute(module.get_submodule(names.A), "weight", mesh, Shard(1))
                _distribute(module.get_submodule(names.B), "weight", mesh, Replicate())
                separate(module.get_submodule(names.DROPOUT), mesh)
                return OfRow()
            case _:
                shared = own_heads(module)
                _distribute(module.get_submodule(names.A), "weight", mesh, Replicate())
                _distribute(module.get_submodule(names.B), "weight", mesh, Replicate() if shared else Shard(0))
                return OfSharedHeads(mesh, shared) if shared else OfColumn(mesh)

    return place


def _distribute(owner: nn.Module, name: str, mesh: DeviceMesh, placement: Placement) -> None:
    parameter = owner.get_parameter(name)
    if not isinstance(parameter, DTensor):  # A of a fused target is there for each of its parts
        setattr(owner, name, nn.Parameter(distribute_tensor(parameter, mesh, [placement])))


def _local(tensor: Tensor, gradient: Placement) -> Tensor:
    assert isinstance(tensor, DTensor)
    return tensor.to_local(grad_placements=[gradient])


@dataclass(frozen=True, slots=True)
class OfColumn(AdapterLayout):
    """Whole states, other output features on each process."""

    mesh: DeviceMesh

    def states(self, states: Tensor) -> Tensor:
        """Return the states that all processes have."""
        return with_partial_gradient(states, self.mesh)

    def weight_a(self, weight: Tensor) -> Tensor:
        """Return the whole; each process has a part of its gradient."""
        return _local(weight, Partial())

    def weight_b(self, weight: Tensor) -> Tensor:
        """Return the own rows."""
        return _local(weight, Shard(0))

    def add(self, base: Tensor, delta: Tensor) -> Tensor:
        """Return the sum of the own features."""
        return base + DTensor.from_local(delta, self.mesh, [Shard(delta.ndim - 1)], run_check=False)


@dataclass(frozen=True, slots=True)
class OfSharedHeads(AdapterLayout):
    """Whole states and weights; each process computes the heads that its queries read."""

    mesh: DeviceMesh
    heads: OwnHeads

    def states(self, states: Tensor) -> Tensor:
        """Return the states that all processes have."""
        return with_partial_gradient(states, self.mesh)

    def weight_a(self, weight: Tensor) -> Tensor:
        """Return the whole; each process has a part of its gradient."""
        return _local(weight, Partial())

    def weight_b(self, weight: Tensor) -> Tensor:
        """Return the rows of the own heads."""
        return self.heads.rows(weight)


@dataclass(frozen=True, slots=True)
class OfRow(AdapterLayout):
    """Other input features on each process, whose outputs are summed."""

    def states(self, states: Tensor) -> Tensor:
        """Return the own features."""
        return _local(states, Shard(states.ndim - 1)) if isinstance(states, DTensor) else states

    def weight_a(self, weight: Tensor) -> Tensor:
        """Return the own columns."""
        return _local(weight, Shard(1))

    def weight_b(self, weight: Tensor) -> Tensor:
        """Return the whole, which is linear: a part of the sum goes through it as the sum would."""
        return _local(weight, Partial())

    def add(self, base: Tensor, delta: Tensor) -> Tensor:
        """Return the sum of two parts of sums."""
        assert isinstance(base, DTensor)
        return base + DTensor.from_local(delta, base.device_mesh, base.placements, run_check=False)


@dataclass(frozen=True, slots=True)
class OfEmbedding(AdapterLayout):
    """Whole, beside an embedding of tokens or of positions."""

    mesh: DeviceMesh
    is_split: bool
    """Whether processes have parts of the tokens."""
    is_cut: bool
    """Whether the embedding is given the own part alone, as that of positions is."""

    def states(self, states: Tensor) -> Tensor:
        """Return the token ids of the own part."""
        whole = states.to_local() if isinstance(states, DTensor) else states
        if not self.is_split or self.is_cut:
            return whole
        return whole.chunk(self.mesh.size(), dim=1)[self.mesh.get_local_rank()]

    def weight_a(self, weight: Tensor) -> Tensor:
        """Return the whole; processes with other tokens have parts of its gradient."""
        return _local(weight, Partial() if self.is_split else Replicate())

    weight_b = weight_a
