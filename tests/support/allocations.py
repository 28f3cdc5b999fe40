"""Bytes that tensors of this process hold, by torch's own account: every storage from its birth to its end."""

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Allocations(TorchDispatchMode):
    """Counts the storages that operations make while it is entered, and the highest sum; knows those given before."""

    def __init__(self, present: Iterable[Tensor]) -> None:
        super().__init__()
        self._sizes: dict[int, int] = {}
        self.now = 0
        self.peak = 0
        for tensor in present:
            self._add(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            self._add(leaf)
        return result

    def restart(self) -> int:
        """The peak until now; a new one begins."""
        peak, self.peak = self.peak, self.now
        return peak

    def _add(self, leaf: Any) -> None:
        if not isinstance(leaf, Tensor):
            return
        storage = local(leaf).untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._sizes or not size:
            return
        self._sizes[key] = size
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._remove, key)

    def _remove(self, key: int) -> None:
        self.now -= self._sizes.pop(key, 0)


def local(tensor: Tensor) -> Tensor:
    """The part of a DTensor that this process has."""
    part = getattr(tensor, "_local_tensor", tensor)
    assert isinstance(part, Tensor)
    return part


def distinct(tensors: Iterable[Tensor]) -> int:
    """Bytes of the tensors' storages, a shared one once."""
    storages = {(s := local(tensor).untyped_storage())._cdata: s.nbytes() for tensor in tensors}
    return sum(storages.values())


class Saved(torch.autograd.graph.saved_tensors_hooks):
    """Storages that the forward pass keeps for the backward pass, but for those given (the weights)."""

    def __init__(self, without: Iterable[Tensor]) -> None:
        self._without = {local(tensor).untyped_storage()._cdata for tensor in without}
        self._kept: dict[int, torch.UntypedStorage] = {}
        super().__init__(self._pack, lambda tensor: tensor)

    @property
    def bytes(self) -> int:
        """So far."""
        return sum(storage.nbytes() for storage in self._kept.values())

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = local(tensor).untyped_storage()
        if storage._cdata not in self._without:
            self._kept[storage._cdata] = storage
        return tensor
