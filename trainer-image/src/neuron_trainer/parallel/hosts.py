"""The process group of what lives in host memory: votes, objects, barriers, staged checkpoints.

On the CPU it is the default group. Beside a device it is a gloo group of its own: a device's process group that is
written in Python replaces PyTorch's composite one, and takes no host tensors (`_new_process_group_helper`, torch 2.14).
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Final

import torch
import torch.distributed as dist
from torch.distributed import ProcessGroup
from torch.distributed.device_mesh import DeviceMesh

from neuron_trainer import accelerators

_GROUPS: Final[dict[str, ProcessGroup]] = {}
_MESHES: Final[dict[DeviceMesh, DeviceMesh]] = {}


def init(accelerator: str, timeout: timedelta) -> None:
    """Make the group, once the default one is there; a collective."""
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


def begin_vote(*wishes: bool) -> Callable[[], tuple[bool, ...]]:
    """See `ParallelBackend.begin_vote`: one asynchronous all-reduce of as many numbers through gloo."""
    if dist.get_world_size() == 1:
        return lambda: wishes
    votes = torch.tensor([int(wish) for wish in wishes])
    work = dist.all_reduce(votes, group=group(), async_op=True)

    def answer() -> tuple[bool, ...]:
        work.wait()
        return tuple(vote > 0 for vote in votes.tolist())

    return answer
