"""Does the environment hold values against which a training hangs, is slow, or falls back in silence?"""

from collections.abc import Iterator
from typing import Final

from neuron_trainer.doctor.machine import Machine
from neuron_trainer.doctor.result import Result, failed, ok
from neuron_trainer.launcher import device_environment

_CONTRADICTION: Final = ("NEURON_RT_VISIBLE_CORES", "NEURON_RT_NUM_CORES")


def results(machine: Machine) -> Iterator[Result]:
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
    if machine.accelerator == "neuron" and all(name in machine.variables for name in _CONTRADICTION):
        text = f"{' and '.join(_CONTRADICTION)} contradict each other"
        yield failed("variables", text, "Remove both: each process takes the core of its rank.")
