"""`torch.neuron`: what PyTorch and its users ask a device module."""

import contextlib
import os
import types
from collections.abc import Iterator
from typing import Any

import torch

from . import _C, runtime


def is_available() -> bool:
    """Return True: the package is there."""
    return True


def is_initialized() -> bool:
    """Return whether the device was touched."""
    return runtime.is_neuron_runtime_initialized()


def init() -> None:
    """Open the device."""
    _C.touch()


_lazy_init = init


def _is_in_bad_fork() -> bool:
    return runtime._State.is_forked


def device_count() -> int:
    """Return the devices of the node that processes of this run have."""
    return int(os.environ.get("LOCAL_WORLD_SIZE") or 1)


def current_device() -> int:
    """Return the index of the process's device."""
    return int(_C.index())


def set_device(device: Any) -> None:
    """Choose the device: there is but one to choose."""
    index = _index(device)
    if index != current_device():
        raise ValueError(f"neuron rule own-device: this process has neuron:{current_device()} and not neuron:{index}")


def _index(device: Any) -> int:
    if device is None:
        return current_device()
    if isinstance(device, int):
        return device if device >= 0 else current_device()
    index = torch.device(device).index
    return current_device() if index is None else index


class device(contextlib.AbstractContextManager[None]):  # as in torch.cuda
    """Choose a device for a block."""

    def __init__(self, device: Any) -> None:
        set_device(device)

    def __exit__(self, *_: object) -> None:
        return None


class device_of(device):
    """Choose the device of a tensor for a block."""

    def __init__(self, tensor: torch.Tensor) -> None:
        super().__init__(tensor.device if tensor.device.type == "neuron" else None)


def get_device_properties(device: Any = None) -> Any:
    """Return name and memory."""
    _index(device)
    return types.SimpleNamespace(name="standin", total_memory=24 << 30)


def get_device_name(device: Any = None) -> str:
    """Return the name of the device, which says that it is none."""
    return str(get_device_properties(device).name)


def get_amp_supported_dtype() -> list[torch.dtype]:
    """Return what autocast may cast to."""
    return [torch.bfloat16, torch.float16]


def synchronize(device: Any = None) -> None:
    """Wait until the device has done everything; raises the first failure since the last time."""
    _index(device)
    _C.wait()
    if _failures:
        message = _failures[0]
        _failures.clear()
        raise RuntimeError(message)


_failures: list[str] = []


def fail(message: str) -> None:
    """Let work that is given to the device fail, as a test asks for: events are reached, and numbers can be read."""
    _failures.append(message)


class Stream(torch.Stream):
    """A stream; all of them are one."""

    def __new__(cls, device: Any = None, priority: int = 0, **kwargs: Any) -> "Stream":
        """Make a stream of the process's device."""
        return super().__new__(cls, device=torch.device("neuron", current_device()), priority=priority)


class Event(torch.Event):
    """An event of a stream."""

    def __new__(cls, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False) -> "Event":
        """Make an event of the process's device."""
        return super().__new__(
            cls, device=torch.device("neuron", current_device()), enable_timing=enable_timing, blocking=blocking
        )


def current_stream(device: Any = None) -> torch.Stream:
    """Return the stream."""
    return torch.accelerator.current_stream()


default_stream = current_stream


def set_stream(stream: torch.Stream) -> None:
    """Choose the stream."""


@contextlib.contextmanager
def stream(stream: torch.Stream | None) -> Iterator[None]:
    """Choose the stream for a block."""
    yield


def memory_allocated(device: Any = None) -> int:
    """Return 0: nothing is measured."""
    return 0


max_memory_allocated = memory_reserved = max_memory_reserved = memory_allocated


def memory_stats(device: Any = None) -> dict[str, Any]:
    """Return nothing: nothing is measured."""
    return {}


def reset_peak_memory_stats(device: Any = None) -> None:
    """Do nothing: nothing is measured."""


def empty_cache() -> None:
    """Do nothing: nothing is cached."""


def manual_seed(seed: int) -> None:
    """Seed the device's generator."""
    _C.default_generator().manual_seed(int(seed) % 2**63)


manual_seed_all = manual_seed


def seed() -> None:
    """Seed the device's generator by chance."""
    _C.default_generator().seed()


seed_all = seed


def initial_seed() -> int:
    """Return the seed of the device's generator."""
    return int(_C.default_generator().initial_seed())


def get_rng_state(device: Any = None) -> torch.Tensor:
    """Return seed and offset, 16 bytes."""
    _index(device)
    return _C.default_generator().get_state()


def set_rng_state(new_state: torch.Tensor, device: Any = None) -> None:
    """Restore seed and offset."""
    _index(device)
    _C.default_generator().set_state(new_state)
