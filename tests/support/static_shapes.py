"""What a device that compiles for shapes cannot do is refused, on the CPU: shapes by data, reads by the host.

Every operation is also recorded with the shapes of its results: with other data the record must be the same.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_INDEXED = ("aten.index.Tensor", "aten.index_put.default", "aten.index_put_.default", "aten._index_put_impl_.default")
"""Tagged by PyTorch as dynamic, or not at all, whatever they are given: only a mask's shape depends on its data."""


class StaticShapes(TorchDispatchMode):
    """Look at every operation on plain tensors; DTensor's are seen as what they do on this process."""

    def __init__(self) -> None:
        super().__init__()
        self.record: list[tuple[str, tuple[torch.Size, ...]]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if any(issubclass(kind, DTensor) for kind in types):
            return NotImplemented
        self._refuse(func, args)
        result = func(*args, **(kwargs or {}))
        shapes = tuple(leaf.shape for leaf in tree_leaves(result) if isinstance(leaf, Tensor))
        self.record.append((str(func), shapes))
        return result

    @staticmethod
    def _refuse(func: Any, args: tuple[Any, ...]) -> None:
        tensors = [leaf for leaf in tree_leaves(args) if isinstance(leaf, Tensor)]
        if str(func) in _INDEXED:
            assert not any(tensor.dtype is torch.bool for tensor in tensors[1:]), f"{func} by a mask"
            return
        assert torch.Tag.dynamic_output_shape not in func.tags, f"the shape of {func} depends on data"
        assert torch.Tag.data_dependent_output not in func.tags, f"{func} is read by the host"
        assert not any(tensor.dtype.is_complex for tensor in tensors), f"{func} of complex numbers"


def assert_static(compute: Callable[..., Any], *of_inputs: tuple[Any, ...]) -> None:
    """Both shapes and operations are the same for all inputs."""
    records = []
    for inputs in of_inputs:
        with StaticShapes() as seen:
            compute(*inputs)
        records.append(seen.record)
    assert records[0]
    for record in records[1:]:
        assert record == records[0]
