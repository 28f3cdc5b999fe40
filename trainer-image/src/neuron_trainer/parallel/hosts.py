"""The process group of what lives in host memory: votes, objects, barriers, staged checkpoints.

On the CPU it is the default group. Beside a device it is a gloo group of its own: a device's process group that is
written in Python replaces PyTorch's composite one, and takes no host tensors (`_new_process_group_helper`, torch 2.14).

`waited` adds up how long this process's host has waited for others. PyTorch's own hooks of a process group are called
when a collective is issued, not when somebody waits for it, so `Work.wait` itself is timed.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.distributed import _functional_collectives as functional
from torch.distributed.device_mesh import DeviceMesh

from neuron_trainer import accelerators

_GROUPS: Final[dict[str, ProcessGroup]] = {}
_MESHES: Final[dict[DeviceMesh, DeviceMesh]] = {}


def init(accelerator: str, timeout: timedelta) -> None:
    """Make the group, once the default one is there; a collective."""
    time_waits()
    _GROUPS.clear()
    _MESHES.clear()
    if not accelerators.get(accelerator).is_host:
        hosts = dist.new_group(backend="gloo", timeout=timeout)
        assert isinstance(hosts, ProcessGroup), "every process is a member"
        _GROUPS["hosts"] = hosts


def mesh(of_devices: DeviceMesh) -> DeviceMesh:
    """Return the mesh of the hosts of a mesh of devices, for tensors in host memory that know their place in the whole.

    It has no process groups, since nothing is computed on it; the mesh itself where it is one of hosts.
    """
    if of_devices.device_type == "cpu":
        return of_devices
    if of_devices not in _MESHES:
        _MESHES[of_devices] = DeviceMesh(
            "cpu", of_devices.mesh, mesh_dim_names=of_devices.mesh_dim_names, _init_backend=False
        )
    return _MESHES[of_devices]


def group() -> ProcessGroup | None:
    """Return the group; None is PyTorch's default one."""
    return _GROUPS.get("hosts")


@dataclass(frozen=True, slots=True)
class Ballot:
    """What a vote has come to."""

    wishes: tuple[bool, ...]
    """Which of them some process has."""
    measured: Tensor
    """What each process has measured, a row for each, int64; without columns where nothing was."""


def begin_vote(*wishes: bool, measured: Sequence[int] = ()) -> Callable[[], Ballot]:
    """See `ParallelBackend.begin_vote`: one asynchronous all-reduce through gloo, of as many numbers as there are
    wishes, and as many for each process as it has measured."""
    processes = dist.get_world_size()
    if processes == 1:
        return lambda: Ballot(wishes, torch.tensor([measured], dtype=torch.int64))
    votes = torch.zeros(len(wishes) + processes * len(measured), dtype=torch.int64)
    votes[: len(wishes)] = torch.tensor(wishes, dtype=torch.int64)
    table = votes[len(wishes) :].view(processes, len(measured))
    if measured:
        table[dist.get_rank()] = torch.tensor(measured)
    work = dist.all_reduce(votes, group=group(), async_op=True)

    def answer() -> Ballot:
        work.wait()
        return Ballot(tuple(vote > 0 for vote in votes[: len(wishes)].tolist()), table)

    return answer


class WaitClock:
    """Seconds that training has waited for other processes, as its host sees it. What a thread of Python's own waits
    for, such as one that saves in the background, is not training; PyTorch's threads of the backward pass are.

    On a device that runs behind its host a wait is put into the device's queue, and takes the host no time.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self.seconds = clock, 0.0
        self._thread = threading.local()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time in the context."""
        begun = self._clock()
        try:
            yield
        finally:
            if self._counts():
                self.seconds += self._clock() - begun

    def _counts(self) -> bool:
        if not hasattr(self._thread, "counts"):
            own = {thread.ident for thread in threading.enumerate()} - {threading.main_thread().ident}
            self._thread.counts = threading.get_ident() not in own
        return bool(self._thread.counts)


waited: Final = WaitClock()
"""Of this process."""


def wait_for(pending: Tensor) -> Tensor:
    """Return the result of a functional collective, once it is there. Nothing is timed in what a compiler traces."""
    if torch.compiler.is_compiling():
        return functional.wait_tensor(pending)  # type: ignore[no-any-return, no-untyped-call]
    with waited.waiting():
        result: Tensor = functional.wait_tensor(pending)  # type: ignore[no-untyped-call]
    return result


def time_waits() -> None:
    """Time all waits for collectives of this process from now on."""
    untimed = dist.Work.wait
    if hasattr(untimed, "untimed"):
        return

    def wait(work: dist.Work, *arguments: Any, **options: Any) -> Any:
        with waited.waiting():
            return untimed(work, *arguments, **options)

    wait.untimed = untimed  # type: ignore[attr-defined]
    dist.Work.wait = wait  # type: ignore[method-assign, assignment]
