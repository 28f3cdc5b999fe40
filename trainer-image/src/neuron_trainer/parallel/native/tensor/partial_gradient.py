"""A tensor that all tensor-parallel processes have, each of which computes a part of its gradient."""

from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Replicate


def with_partial_gradient(tensor: Tensor, mesh: DeviceMesh) -> Tensor:
    """The same values on each process; in the backward pass the processes' gradients are summed."""
    if not isinstance(tensor, DTensor):
        tensor = DTensor.from_local(tensor, mesh, [Replicate()], run_check=False)
    return tensor.to_local(grad_placements=[Partial()])
