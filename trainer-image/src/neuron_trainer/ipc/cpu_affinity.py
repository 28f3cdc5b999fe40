"""Which CPUs of a node are near a NeuronCore: a process that keeps to them reaches its device without the other socket.

Processes of a trn2.48xlarge that kept to none were reported to lose half of their speed
(docs/reference/upstream-facts.md#neuron-cpus). The launcher asks `neuron-ls` once for all of its workers.
"""

import json
import logging
import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any, Final

log = logging.getLogger(__name__)

VARIABLE: Final = "NTJ_CPU_AFFINITY"
"""For workers: a JSON object of cores and their lists of CPUs. A user's own value wins; `{}` binds nothing."""
ACCELERATORS: Final = ("neuron", "xla")
"""PyTorch's names of a NeuronCore."""
_TOOL: Final = ("neuron-ls", "--json-output")
_LEAST_SHARE: Final = 0.25
"""Of a process's CPUs that must be near its core: all processes of a node on a few CPUs are slower than on far ones."""
_PATIENCE: Final = 10.0
"""Seconds for the tool, which asks a driver."""


def near_cores() -> dict[int, str]:
    """Return the lists of CPUs (as `0-47,96-143`) by core, of all devices in sight; empty where nobody can say it."""
    try:
        answer = subprocess.run(_TOOL, capture_output=True, text=True, timeout=_PATIENCE, check=True)
        return of_listing(json.loads(answer.stdout))
    except (OSError, subprocess.SubprocessError, ValueError, TypeError, KeyError, AttributeError) as problem:
        log.debug("%s: %s", _TOOL[0], problem)
        return {}


def of_listing(devices: list[dict[str, Any]]) -> dict[int, str]:
    """Return the same from what `neuron-ls` lists; devices without `cpu_affinity`, before SDK 2.25, are left out."""
    cpus: dict[int, str] = {}
    for device in devices:
        count = int(device["nc_count"])
        first = int(device["neuron_device"]) * count
        cores = device.get("neuroncore_ids") or range(first, first + count)
        if device.get("cpu_affinity"):
            cpus |= {int(core): str(device["cpu_affinity"]) for core in cores}
    return cpus


def bind(environ: Mapping[str, str], cores: Sequence[int], local_rank: int) -> None:
    """Keep this process, and the threads that it starts, to the CPUs near its core; before a runtime starts threads.

    `cores`: those of the container, empty: all in sight; the process has the `local_rank`-th. Only among CPUs that the
    process may use already: where a container has none of those near, nothing is changed.
    """
    near = {int(number): cpus for number, cpus in json.loads(environ.get(VARIABLE) or "{}").items()}
    cores = cores or sorted(near)
    core = cores[local_rank] if local_rank < len(cores) else None
    if core is None or core not in near:
        return
    allowed = os.sched_getaffinity(0)
    chosen = allowed & _numbers(near[core])
    if len(chosen) >= len(allowed) * _LEAST_SHARE:
        os.sched_setaffinity(0, chosen)
    else:
        count = len(chosen) or "none"
        log.info(
            "%s of the CPUs near core %d (%s) is this container's: the process is not bound", count, core, near[core]
        )


def _numbers(cpus: str) -> set[int]:
    """Return the numbers of the kernel's lists of CPUs."""
    ranges = [part.strip().partition("-") for part in cpus.split(",")]
    return {number for first, _, last in ranges for number in range(int(first), int(last or first) + 1)}
