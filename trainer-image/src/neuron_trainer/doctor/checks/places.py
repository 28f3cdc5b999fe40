"""Is there room, and does the compile cache outlive the pod?"""

from collections.abc import Iterator
from typing import Final

from neuron_trainer.doctor.machine import Machine, Place
from neuron_trainer.doctor.result import Result, failed, ok, unknown

_GIB: Final = 2**30
TEMPORARY_BYTES: Final = 20 * _GIB
"""Compilations of large models leave gigabytes there (upstream-facts.md#torchneuron-processes)."""
CACHE_BYTES: Final = 5 * _GIB
MEMORY_BYTES: Final = _GIB
"""Of /dev/shm: the processes of a node exchange through it; Docker's default of 64 MiB is known to be too small."""


def results(machine: Machine) -> Iterator[Result]:
    """Yield the lines about directories; without Neuron nothing is compiled for long, and little left behind."""
    if machine.accelerator == "neuron":
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
