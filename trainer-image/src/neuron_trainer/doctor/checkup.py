"""The order of the checks: first what is there, then what it does."""

from collections.abc import Iterator, Mapping
from typing import Final

from . import trials
from .checks import devices, host, versions
from .checks import trials as judgements
from .machine import Machine
from .result import Result
from .trials import Trial

_OF_DEVICES: Final = ("compile", "operators")
MAX_PROCESSES: Final = 64
"""Of the collective: all cores of a node with lnc 2."""


def examine(machine: Machine) -> Iterator[Result]:
    """Yield what is seen without touching a device."""
    yield from versions.results(machine)
    if machine.has_neuron:
        yield from devices.results(machine)
        yield from host.network(machine)
    elif machine.accelerator == "cuda":
        yield devices.gpus(machine)
    yield from host.room(machine)
    yield from host.limits(machine)
    yield from host.variables(machine)


def trial_names(accelerator: str) -> tuple[str, ...]:
    """Return the trials of a device; on the CPU nothing is compiled, and there is nothing to compare with it."""
    return tuple(name for name in trials.NAMES if name not in _OF_DEVICES or accelerator != "cpu")


def judge(made: Mapping[str, Trial]) -> Iterator[Result]:
    """Yield what the trials have shown."""
    yield from judgements.results(made)
