"""What neuronx-distributed has for a lazy device: the calls of its kernels, and its order of processes.

It claims a core when it is imported and takes 8 s, so a worker alone does it, on Neuron's runtime alone. The names,
layouts and limits are those of release 2.29 (upstream-facts.md#nki-attention).
"""

import os
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final, cast

from torch import Tensor

from neuron_api.platform.topology import Topology
from neuron_trainer.errors import DeviceError

PACKAGE: Final = "neuronx_distributed"
_RUNTIME: Final = "NEURON"

Attention = Callable[..., Tensor]
"""A kernel's call: queries, keys and values of as many heads first."""


def is_expected() -> bool:
    """Return whether the runtime of this process is Neuron's, or would be: then its packages have to be there."""
    return os.environ.get("PJRT_DEVICE", _RUNTIME) == _RUNTIME


def is_present() -> bool:
    """Return whether neuronx-distributed is installed, without importing it."""
    return find_spec(PACKAGE) is not None


def flash_attention() -> Attention:
    """Return the call of the flash kernel. Raises `DeviceError` where it cannot be imported."""
    return cast(Attention, _load("kernels.flash_attn", "nki_flash_attn_func"))


def ring_attention() -> Attention:
    """Return the call of the ring kernel. Raises `DeviceError` where it cannot be imported."""
    return cast(Attention, _load("kernels.ring_attention_kernel", "nki_ring_attn_func"))


def tensor_groups(topology: Topology, experts: int, lnc: int) -> list[list[int]]:
    """Return the tensor-parallel groups, by stage, data-parallel and context-parallel place: which cores have a short
    way to each other is NxD's knowledge (Trn1 with 4, Trn2 with half a node). Raises `DeviceError`."""
    initialize = _load("parallel_layers.parallel_state", "initialize_model_parallel")
    sizes = topology.tensor_parallel, topology.pipeline_parallel, topology.context_parallel, experts
    try:
        groups = initialize(*sizes, lnc_size=lnc, mesh_only=True).tp_groups
    except (RuntimeError, AssertionError) as problem:
        names = "tensor {} x pipeline {} x context {}, expert {}".format(*sizes)
        raise DeviceError(
            f"{PACKAGE} has no order of {topology.world_size} processes for {names}, {topology.processes_per_node} a "
            f"node: {problem}. Change distributed_strategy.tensor_model_parallel_size."
        ) from problem
    return [list(map(int, group)) for group in groups]


def ring_pairs(context: Sequence[Sequence[int]], rank: int) -> object:
    """Return whom each process of a ring sends to, in the form that the ring kernel takes it in."""
    collectives = _load("parallel_layers.parallel_state", "CollectivesConfig")
    return collectives(replica_groups=[list(group) for group in context]).rank_src_tgt_pairs[rank]


def logical_cores(chosen: int | None) -> int:
    """Return the physical cores of a logical one: 1 on Trn1, elsewhere 2 where the file does not say it."""
    return chosen or (1 if is_trn1() else 2)


@cache
def is_trn1() -> bool:
    """Return whether the cores are those of Trn1, and of Inf2, which are the same."""
    hardware = _load("utils.utils", "hardware")
    target = import_module("torch_neuronx.utils").get_platform_target()
    return bool(hardware(target) == hardware.TRN1)


def _load(module: str, name: str) -> Any:
    try:
        return getattr(import_module(f"{PACKAGE}.{module}"), name)
    except (ImportError, AttributeError) as problem:
        raise DeviceError(f"{PACKAGE}.{module}.{name} cannot be imported: {problem}.") from problem
