"""How a process gets its device: load what brings it, join the process group, and only then touch it.

That order is the Neuron runtime's: the process group chooses the core and initialises the runtime, so the first touch
comes after it. The launcher and the forkserver do none of this; they run with `TORCH_DEVICE_BACKEND_AUTOLOAD=0`.

`fallback_ops` says which operators ran on the CPU because the device does not have them: slow, and silent unless asked
for.
"""

import os
import sys
from collections import Counter
from collections.abc import MutableMapping
from importlib import import_module
from importlib.metadata import PackageNotFoundError, entry_points, version
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Final

import torch
import torch.distributed as dist

from neuron_trainer.errors import DeviceError

from .accelerator import Accelerator
from .cores import choose_cores
from .registry import get


def clear_fallbacks(accelerator: Accelerator) -> None:
    """Begin to count, where the vendor's package counts."""
    package = _counting_module(accelerator)
    if package is not None and hasattr(package, "clear_op_tracking"):
        package.clear_op_tracking()


def fallback_ops(accelerator: Accelerator) -> Counter[str]:
    """Return the operators that ran on the CPU since `clear`, and how often; empty where nothing counts them."""
    package = _counting_module(accelerator)
    if package is None or not hasattr(package, "get_fallback_ops"):
        return Counter()
    return Counter(map(str, package.get_fallback_ops()))


def _counting_module(accelerator: Accelerator) -> ModuleType | None:
    """Return the vendor's package, or our module in front of it, once the package is loaded."""
    if accelerator.package not in sys.modules:
        return None
    return sys.modules.get(accelerator.module or accelerator.package)


_ENTRY_POINTS: Final = "torch.backends"
"""The group by which PyTorch finds packages that bring a device."""
_OWN_FOLDER: Final = "/{local_rank}"


def is_present(accelerator: Accelerator) -> bool:
    """Return whether this Python has what the device needs, without loading it."""
    if accelerator.package:
        return find_spec(accelerator.package) is not None
    return accelerator.is_host or torch.version.cuda is not None


def misfit(accelerator: Accelerator) -> str:
    """Return in what the vendor's package is of another PyTorch, without loading it; empty where it fits.

    It is built for one minor version; that of torch-neuronx up to 2.9 brings an XLA device and none called `neuron`.
    """
    try:
        own = version(accelerator.package) if accelerator.package else torch.__version__
    except PackageNotFoundError:
        return ""
    is_same = own.split(".")[:2] == torch.__version__.split(".")[:2]
    return "" if is_same else f"{accelerator.package} {own} is not for PyTorch {torch.__version__}"


def count(accelerator: Accelerator) -> int | None:
    """Return how many devices this node has, without initialising a runtime; None where nobody can say it so."""
    return None if accelerator.package or accelerator.is_host else torch.cuda.device_count()


def load(accelerator: Accelerator, local_rank: int, *, may_compile: bool = False) -> None:
    """Bring the device to PyTorch, in a worker and before its process group; nothing is touched.

    `may_compile`: whether this process may belong to a compile phase, where peers compile while it waits in a
    collective. Raises `DeviceError` where the package is missing or does not load.
    """
    if accelerator.is_host:
        return
    if sys.modules.get(accelerator.package) is not None:
        raise DeviceError(
            f"{accelerator.package} was loaded before this process was forked, and a device's runtime does not survive "
            "that. Import it nowhere but in workers: not by sitecustomize, and not in what the launcher imports."
        )
    if accelerator.package:
        take_folders(os.environ, local_rank)
        if may_compile:
            wait_for_compilers(os.environ, accelerator)
        if accelerator.module:
            module = import_module(accelerator.module)
            module.prepare(os.environ)
            torch._register_device_module(accelerator.name, module)
        else:
            choose_cores(os.environ, local_rank)
        _load(accelerator.package)
    else:
        _device_module(accelerator).set_device(local_rank)  # its collectives take the current device


def open_device(accelerator: Accelerator) -> torch.device:
    """Return this process's device, once the process group is there; raise `DeviceError` where tensors are not on it.

    The name has no index: there is one device in a process, whose core follows from LOCAL_RANK.
    """
    if accelerator.is_host:
        return torch.device(accelerator.name)
    module = _device_module(accelerator)
    if not module.is_available():
        raise DeviceError(f"{accelerator.name}: there is no device. Run where this process has one, or on a CPU.")
    device = torch.device(accelerator.name)
    tensor = torch.ones((), device=device)
    if tensor.device.type != accelerator.name:  # a runtime that falls back to the CPU is silent about it
        raise DeviceError(f"{accelerator.name}: tensors are made on {tensor.device}. Check the device's runtime.")
    if accelerator.joins:
        _join(accelerator, module, device)
    return device


def _join(accelerator: Accelerator, module: Any, device: torch.device) -> None:
    """A collective, the first of all, whose result is known: raises `DeviceError` where it is another."""
    rank, world = dist.get_rank(), dist.get_world_size()
    try:
        problem = module.join(device, rank, world)
    except RuntimeError as error:
        problem = f"the first sum over all processes failed: {error}"
    if problem:
        raise DeviceError(
            f"{accelerator.name}: rank {rank} of {world}: {problem}. Check that each process has a core of its own "
            "(NEURON_RT_VISIBLE_CORES), that all nodes run one image, and that NEURON_RT_ROOT_COMM_ID and EFA reach."
        )


def synchronize(device: torch.device) -> None:
    """Wait until the device has done everything that it was given; nothing to wait for on the CPU."""
    if device.type != "cpu":
        torch.get_device_module(device).synchronize()


def raise_deferred(device: torch.device) -> None:
    """Raise what failed on the device since the last time, where it keeps that back; waits for the device there."""
    if get(device.type).defers_errors:
        synchronize(device)


def take_folders(environ: MutableMapping[str, str], local_rank: int) -> None:
    """Fill in the local rank where the launcher has left its place, at the end of a folder's name."""
    for name, value in environ.items():
        if value.endswith(_OWN_FOLDER):
            environ[name] = f"{value.removesuffix(_OWN_FOLDER)}/{local_rank}"


def wait_for_compilers(environ: MutableMapping[str, str], accelerator: Accelerator) -> None:
    """Let an execution take as long as a graph of a peer may; a longer time of the user's stays."""
    if name := accelerator.timeout_variable:
        own = environ.get(name, "")
        environ[name] = str(max(int(own) if own.isdecimal() else 0, accelerator.compile_seconds))


def _load(package: str) -> None:
    """Load a package as `import torch` would by its entry point; without one, importing it is all."""
    try:
        module = import_module(package)
        for entry in entry_points(group=_ENTRY_POINTS):
            if entry.module.partition(".")[0] == module.__name__:
                entry.load()()
    except ImportError as problem:
        raise DeviceError(f"{package} cannot be loaded: {problem}. Use an image that has it.") from problem


def _device_module(accelerator: Accelerator) -> Any:
    try:
        return torch.get_device_module(accelerator.name)
    except RuntimeError as problem:
        raise DeviceError(
            f"{accelerator.package} has brought no device {accelerator.name!r} to PyTorch {torch.__version__}. Use an "
            "image whose packages belong together."
        ) from problem
