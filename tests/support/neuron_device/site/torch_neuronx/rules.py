"""What the device's collectives refuse. Each message names its rule (upstream-facts.md#torchneuron-rules)."""

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import torch
import torch.distributed as dist
from torch import Tensor

from . import _C


def refuse(rule: str, message: str, kind: type[Exception] = ValueError) -> NoReturn:
    """Raise what breaks a rule, and count it."""
    _C.tell("rule", rule)
    raise kind(f"neuron rule {rule}: {message}")


def check_tensors(call: str, tensors: Sequence[Tensor]) -> None:
    """Refuse tensors of the host, empty ones, mixed types and those that are not contiguous."""
    host = [one for one in tensors if one.device.type != "neuron"]
    if host:
        refuse(
            "device-tensors",
            f"{call} was given a tensor on {host[0].device}; the device's group replaces "
            "the composite one, use a gloo group for what lives on hosts",
            RuntimeError,
        )
    empty = [one for one in tensors if one.numel() == 0 or (one.dim() > 0 and one.shape[0] == 0)]
    if empty:
        refuse("no-empty", f"{call} was given a tensor of shape {tuple(empty[0].shape)}")
    dtypes = {one.dtype for one in tensors}
    if len(dtypes) > 1:
        refuse("one-dtype", f"{call} was given {', '.join(sorted(map(str, dtypes)))} in one call", TypeError)
    if not all(one.is_contiguous() for one in tensors):
        refuse("contiguous-collectives", f"{call} was given a tensor that is not contiguous")


def check_host_collectives(call: str, size: int) -> None:
    """Refuse collectives where they would never end: without host collectives in a container."""
    if size > 1 and os.environ.get("TORCH_NEURONX_ENABLE_HOST_CC") != "1":
        refuse(
            "host-cc",
            f"{call} without TORCH_NEURONX_ENABLE_HOST_CC=1 hangs in a container: "
            "Timeout exceeded: Waiting on barrier proxy task: 120 sec",
            RuntimeError,
        )


def check_exchange(call: str, group: dist.ProcessGroup, tensors: Sequence[Tensor], splits: Sequence[int]) -> None:
    """Refuse an all-to-all that is not even, or of a group that does not divide the world.

    Sizes that are given are refused where they are equal too, but not those of the functional collectives: these give
    them always, and the vendor's package has a way of its own for them.
    """
    size, world = group.size(), dist.get_world_size()
    if world % size:
        refuse("even-groups", f"{call} in a group of {size} of {world} processes")
    is_given = sys._getframe(2).f_code.co_filename.endswith("distributed_c10d.py") and any(one != 1 for one in splits)
    if is_given or len(set(splits)) > 1:
        refuse(
            "even-exchange",
            f"{call} with split sizes {list(splits)}; give none, so that parts are equal",
            NotImplementedError,
        )
    if len({one.shape for one in tensors}) > 1:
        refuse("even-exchange", f"{call} of parts with different shapes", NotImplementedError)


def check_divides(call: str, size: int, tensors: Sequence[Tensor]) -> None:
    """Refuse tensors whose first dimension does not divide among the group."""
    uneven = [one for one in tensors if one.dim() == 0 or one.shape[0] % size]
    if uneven:
        refuse("even-parts", f"{call} of shape {tuple(uneven[0].shape)} does not divide among {size} processes")


def check_sums(call: str, tensors: Sequence[Tensor]) -> None:
    """Refuse sums of integers, which are computed in fp32."""
    integers = [one.dtype for one in tensors if one.dtype in (torch.int32, torch.int64)]
    if integers:
        refuse("integer-sums", f"{call} of {integers[0]} is exact up to 2^24 (NCC_EVRF061, NCC_EVRF063); convert it")


def poison(tensor: Tensor) -> None:
    """Fill a host's tensor with what no result is: a NaN, or the lowest number."""
    if tensor.dtype.is_floating_point:
        tensor.fill_(torch.nan)
    elif tensor.dtype == torch.bool:
        tensor.fill_(True)
    else:
        tensor.fill_(torch.iinfo(tensor.dtype).min)
