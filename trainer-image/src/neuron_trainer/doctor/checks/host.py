"""Is the host fit for a training?

Are the limits of a process high enough? Can several nodes talk over EFA? Is there room, and does the compile cache
outlive the pod? Does the environment hold values against which a training hangs, is slow, or falls back in silence?
"""

from collections.abc import Iterator
from typing import Final

from neuron_trainer.doctor.machine import NEURON, Machine, Place
from neuron_trainer.doctor.result import Result, failed, ok, unknown
from neuron_trainer.launcher import device_environment

_CONTRADICTION: Final = ("NEURON_RT_VISIBLE_CORES", "NEURON_RT_NUM_CORES")


def variables(machine: Machine) -> Iterator[Result]:
    """Yield a line about each value that contradicts the launcher's, or one that all is well."""
    wrong = [*_changed(machine), *_cores(machine)]
    if wrong:
        yield from wrong
        return
    yield ok("variables", f"{len(machine.variables)} of this project's and the runtime's are set, none against them")


def _changed(machine: Machine) -> Iterator[Result]:
    """A user's own value wins over the launcher's, so here it is said."""
    for name, value in device_environment.CONSTANT.get(machine.accelerator, {}).items():
        own = machine.variables.get(name)
        if own is not None and own != value:
            yield failed("variables", f"{name} is {own!r}, and a run needs {value!r}", f"Remove {name}.")


def _cores(machine: Machine) -> Iterator[Result]:
    if machine.has_neuron and all(name in machine.variables for name in _CONTRADICTION):
        text = f"{' and '.join(_CONTRADICTION)} contradict each other"
        yield failed("variables", text, "Remove both: each process takes the core of its rank.")


_GIB: Final = 2**30
TEMPORARY_BYTES: Final = 20 * _GIB
"""Compilations of large models leave gigabytes there (upstream-facts.md#torchneuron-processes)."""
CACHE_BYTES: Final = 5 * _GIB
MEMORY_BYTES: Final = _GIB
"""Of /dev/shm: the processes of a node exchange through it; Docker's default of 64 MiB is known to be too small."""


def room(machine: Machine) -> Iterator[Result]:
    """Yield the lines about directories; without Neuron nothing is compiled for long, and little left behind."""
    if machine.has_neuron:
        yield _cache(machine.places["cache"])
        larger = "Mount a larger volume at /tmp, or set TMPDIR."
        yield _room("temporary", machine.places["temporary"], TEMPORARY_BYTES, larger)
    remedy = "In a pod the operator mounts memory there; with Docker give --shm-size."
    yield _room("memory", machine.places["memory"], MEMORY_BYTES, remedy)


def _cache(cache: Place) -> Result:
    remedy = "Set compiler_cache_url to a directory on a claim that all nodes mount (spec.storage)."
    if not cache.is_writable:
        return failed("cache", f"{cache.path} cannot be written", remedy)
    if not cache.is_lasting:
        text = f"{cache.path} is on {cache.kind or 'the root'} and ends with the container: each start compiles again"
        return unknown("cache", text, remedy)
    return _room("cache", cache, CACHE_BYTES, remedy)


def _room(check: str, place: Place, needed: int, remedy: str) -> Result:
    if not place.is_writable:
        return failed(check, f"{place.path} cannot be written", remedy)
    text = f"{place.path} has {place.free / _GIB:.1f} GiB free"
    if place.free < needed:
        return failed(check, f"{text} of the {needed / _GIB:.0f} that are needed", remedy)
    return ok(check, text)


_PLUGIN: Final = (
    "In a pod request vpc.amazonaws.com/efa, as the operator does for whole nodes; install its device plugin."
)


def network(machine: Machine) -> Iterator[Result]:
    """Yield the line about EFA."""
    yield _efa(machine)


def _efa(machine: Machine) -> Result:
    has_several = machine.nodes > 1
    if not machine.efa_files:
        text = "there is no /dev/infiniband/uverbs0"
        if has_several:
            return failed("efa", f"{text}, and the job has {machine.nodes} nodes", _PLUGIN)
        return ok("efa", f"{text}; one node needs none")
    closed = [name for name, is_open in machine.efa_files.items() if not is_open]
    if closed:
        return failed("efa", f"{', '.join(closed)} cannot be opened by this user", "Let the device plugin mount them.")
    return _provider(machine, f"{len(machine.efa_files)} of /dev/infiniband/uverbs*")


def _provider(machine: Machine, text: str) -> Result:
    answer = machine.fi_info
    if answer.is_late:
        return failed("efa", f"{text}; fi_info did not answer in time", "Look at dmesg on the node.")
    if answer.code is None:
        remedy = "Install libfabric's tools (EFA installer) to see it; the collective below proves one node alone."
        return unknown("efa", f"{text}; fi_info is not installed", remedy)
    if answer.code != 0 or "provider: efa" not in answer.output:
        remedy = (
            "Install the EFA installer's libfabric in the image; the security group lets all its own traffic through."
        )
        return failed("efa", f"{text}; libfabric has no provider efa", remedy)
    return ok("efa", f"{text}; libfabric has the provider efa")


OPEN_FILES: Final = dict.fromkeys(NEURON, 65_536)
"""By accelerator; that of a NeuronCore is what AWS's troubleshooting of large trainings sets."""
_OPEN_FILES: Final = 1024
_MIB: Final = 2**20


def limits(machine: Machine) -> Iterator[Result]:
    """Yield the lines about limits."""
    yield _open_files(machine)
    if machine.has_neuron and machine.efa_files:
        yield _locked_memory(machine)


def _open_files(machine: Machine) -> Result:
    needed, limit = OPEN_FILES.get(machine.accelerator, _OPEN_FILES), machine.open_files
    if limit is not None and limit < needed:
        remedy = f"Raise it to {needed} (LimitNOFILE of the container runtime, ulimit -n)."
        return failed("nofile", f"{limit} open files", remedy)
    return ok("nofile", "unlimited" if limit is None else str(limit))


def _locked_memory(machine: Machine) -> Result:
    """EFA registers the memory that it sends from."""
    limit = machine.locked_memory
    if limit is not None:
        remedy = "Set LimitMEMLOCK=infinity for the container runtime (ulimit -l unlimited); EFA locks what it sends."
        return failed("memlock", f"{limit / _MIB:.0f} MiB of locked memory", remedy)
    return ok("memlock", "unlimited")
