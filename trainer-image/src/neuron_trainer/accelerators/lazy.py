"""PyTorch/XLA's devices: the module that `torch.get_device_module` gives of them, which torch_xla does not bring.

torch_xla claims a core when it is imported, so it is imported where a function needs it, in workers alone.
"""

import os
from collections import Counter
from collections.abc import MutableMapping
from typing import Any, Final

import torch
from torch import Tensor

_RUNTIME: Final = "PJRT_DEVICE"
"""NEURON, or CPU for tests. Without the vendor's plugin the runtime takes the CPU and only warns."""


def prepare(environ: MutableMapping[str, str]) -> None:
    """Say which process of how many this is, before the runtime is there (upstream-facts.md#xla-processes)."""
    environ.setdefault(_RUNTIME, "NEURON")
    world = int(environ.get("WORLD_SIZE", "1"))
    environ["NEURON_PJRT_PROCESS_INDEX"] = environ.get("RANK", "0")
    environ["NEURON_PJRT_WORLD_SIZE"] = str(world)
    environ["NEURON_PJRT_PROCESSES_NUM_DEVICES"] = ",".join(["1"] * world)


def is_available() -> bool:
    """Return whether the runtime has the kind of device that it was told to take."""
    import torch_xla.runtime

    return str(torch_xla.runtime.device_type()) == os.environ[_RUNTIME]


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
