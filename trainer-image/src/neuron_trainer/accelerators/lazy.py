"""PyTorch/XLA's devices: the module that `torch.get_device_module` gives of them, which torch_xla does not bring.

torch_xla claims a core when it is imported, so it is imported where a function needs it, in workers alone.
"""

import os
import socket
from collections import Counter
from collections.abc import MutableMapping
from typing import Any, Final

import torch
from torch import Tensor

from neuron_api.platform.environment import DOWNCASTS
from neuron_trainer.errors import DeviceError

from .cores import VISIBLE_CORES, visible_cores

_RUNTIME: Final = "PJRT_DEVICE"
"""NEURON, or CPU for tests. Without the vendor's plugin the runtime takes the CPU and only warns."""
_ROOT: Final = "NEURON_RT_ROOT_COMM_ID"
_ROOT_PORT: Final = 62182
"""The one that torch_xla takes by default, in the pod of rank 0."""


def prepare(environ: MutableMapping[str, str]) -> None:
    """Say which process of how many this is, before the runtime is there (upstream-facts.md#xla-processes); and that
    dtypes are what they are called, to those that no launcher started (`doctor`). Raises `DeviceError`."""
    environ.setdefault(_RUNTIME, "NEURON")
    environ.update(dict.fromkeys(DOWNCASTS, "0"))
    check_cores(environ)
    environ["NEURON_PJRT_PROCESS_INDEX"] = environ.get("RANK", "0")
    environ["NEURON_PJRT_WORLD_SIZE"] = environ.get("WORLD_SIZE", "1")
    environ["PJRT_LOCAL_PROCESS_RANK"] = environ.get("LOCAL_RANK", "0")
    environ["PJRT_LOCAL_PROCESS_COUNT"] = environ.get("LOCAL_WORLD_SIZE", "1")
    environ.pop("NEURON_PJRT_PROCESSES_NUM_DEVICES", None)  # a list of all processes, for which the world size stands
    environ.setdefault("TORCHELASTIC_RUN_ID", "neuron-train")  # or torch_xla chooses no core for this process
    if environ[_RUNTIME] == "NEURON" and _ROOT not in environ:
        environ[_ROOT] = root(environ.get("MASTER_ADDR", "127.0.0.1"))


def check_cores(environ: MutableMapping[str, str]) -> None:
    """Refuse a list of cores that is not one for each process of this node; torch_xla takes this process's from it."""
    text, processes = environ.get(VISIBLE_CORES, ""), int(environ.get("LOCAL_WORLD_SIZE", "1"))
    if (cores := visible_cores(text)) and len(cores) != processes:
        raise DeviceError(
            f"{VISIBLE_CORES}={text} has {len(cores)} cores, and this node has {processes} processes, each of which "
            "needs one. Set trainer.devices to the number of cores, or leave the variable out."
        )
    environ.pop("NEURON_RT_NUM_CORES", None)  # a count and a list contradict each other


def root(host: str) -> str:
    """Return where the Neuron runtimes of a run meet, as address and port; names of more than 63 characters, which a
    pod may have, are not resolved by the runtime. Raises `DeviceError`."""
    try:
        every = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as problem:
        raise DeviceError(
            f"the name of the first node, {host}, is not resolved: {problem}. Check that the job's Service is there, "
            "and the cluster's DNS."
        ) from problem
    family, *_, (address, *_) = min(every, key=lambda entry: entry[0] != socket.AF_INET)
    return f"{address}:{_ROOT_PORT}" if family == socket.AF_INET else f"[{address}]:{_ROOT_PORT}"


def is_available() -> bool:
    """Return whether the runtime has a device for this process; which one it is, `join` asks."""
    import torch_xla.runtime

    return int(torch_xla.runtime.addressable_device_count()) > 0


def join(device: torch.device, rank: int, world: int) -> str:
    """Bring this process's device to those of all others; return what is wrong then, empty: nothing.

    Without a replication set torch_xla's all-reduce is a copy, and it asks how many processes there are once
    (upstream-facts.md#xla-processes). The Neuron runtime's first collective has to be one of all processes.
    """
    import torch_xla
    from torch_xla import runtime

    model = _model()
    own = torch_xla.device()
    model.set_replication(own, [own])
    if (kind := str(model.xla_device_hw(own))) != os.environ[_RUNTIME]:
        return f"the device is a {kind}, and {_RUNTIME} says {os.environ[_RUNTIME]}"
    if (count := int(runtime.world_size())) != world:
        return f"the runtime has {count} processes, and the job {world}"
    if (ordinal := int(runtime.global_ordinal())) != rank:
        return f"the runtime takes this process for number {ordinal}, and the job for rank {rank}"
    ones = torch.ones((), device=device)
    total = model.all_reduce("sum", ones, groups=[list(range(world))], pin_layout=False).item()
    return "" if total == world else f"a sum of 1 over {world} processes is {total:g}"


def dispatch() -> None:
    """Give the device what has been recorded so far as one program, and do not wait for it."""
    import torch_xla

    torch_xla.sync()


def synchronize() -> None:
    """Wait until the device has done everything that it was given."""
    import torch_xla

    torch_xla.sync(wait=True)


def clear_op_tracking() -> None:
    """Begin to count operators that run on the host; graphs are counted beside them, so nothing is set to 0."""
    _earlier.clear()
    _earlier.update(_host_operators())


def get_fallback_ops() -> list[str]:
    """Return each operator that ran on the host since then, as often as it did."""
    return sorted((_host_operators() - _earlier).elements())


_earlier: Final[Counter[str]] = Counter()
_READ: Final = "aten::_local_scalar_dense"
"""A number that is read, which is no operator of a step."""


def _host_operators() -> Counter[str]:
    import torch_xla.debug.metrics as counters

    names = [name for name in counters.counter_names() if name.startswith("aten::") and name != _READ]
    return Counter({name: int(counters.counter_value(name)) for name in names})


def manual_seed(seed: int) -> None:
    """Seed the device's generator, which PyTorch's `manual_seed` does not know."""
    _model().set_rng_state(seed % 2**64)


def get_rng_state() -> Tensor:
    """Return the state of the device's generator, 64 bits without a sign, as int64 [1]."""
    state = int(_model().get_rng_state())
    return torch.tensor([state - 2**64 if state >= 2**63 else state], dtype=torch.int64)


def set_rng_state(state: Tensor) -> None:
    """Continue where a state was taken."""
    _model().set_rng_state(int(state) % 2**64)


def _model() -> Any:
    import torch_xla.core.xla_model

    return torch_xla.core.xla_model
