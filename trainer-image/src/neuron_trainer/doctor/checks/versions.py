"""Do Python, PyTorch, TorchNeuron or PyTorch/XLA, the Neuron runtime and the driver belong together?

The tables are AWS's (upstream-facts.md#torchneuron-packages, #pytorch-xla, #neuron-driver).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from neuron_trainer.doctor.machine import Machine
from neuron_trainer.doctor.result import Result, failed, ok, unknown

Version = tuple[int, int]

FAMILIES: Final[Mapping[str, frozenset[Version]]] = {
    "neuron": frozenset({(2, 13), (2, 14)}),
    "xla": frozenset({(2, 9)}),
}
"""By accelerator, PyTorch's versions that torch-neuronx has a family for; its own version begins with the same
numbers. Up to 2.9 it is PyTorch/XLA, then TorchNeuron."""
PYTHON: Final[Mapping[str, tuple[Version, Version]]] = {"neuron": ((3, 12), (3, 14)), "xla": ((3, 11), (3, 12))}
"""First and last Python that it has wheels for."""
TESTED_DRIVER: Final[dict[Version, Version]] = {
    (2, 35): (2, 31),
    (2, 34): (2, 30),
    (2, 33): (2, 29),
    (2, 32): (2, 28),
    (2, 31): (2, 27),
    (2, 30): (2, 26),
}
"""By runtime library, the driver of the same SDK, 2.33 to 2.28."""
FIRST_RUNTIME_OF_DRIVER: Final[dict[Version, Version]] = {(2, 29): (2, 33)}
"""From this driver on, the first runtime library that works."""
FIRST_DRIVER_OF_RUNTIME: Final[dict[Version, Version]] = {(2, 32): (2, 27)}
"""From this runtime library on, the first driver that works."""

_NEEDED: Final = {"neuron": ("neuronx-cc", "nki"), "xla": ("neuronx-cc", "neuronx-distributed")}
_OTHER: Final = {
    "neuron": "an older one is PyTorch/XLA, which is for Trn1 (--accelerator xla)",
    "xla": "a newer one is TorchNeuron, which does not run on Trn1",
}
_IMAGES: Final = {"neuron": "torchneuron", "xla": "nxd"}


def results(machine: Machine) -> Iterator[Result]:
    """Yield the lines about versions; without Neuron PyTorch's alone."""
    torch = numbers(machine.packages.get("torch"))
    if torch is None:
        yield failed("pytorch", "it is not installed", "Use one of the trainer's images.")
    elif not machine.has_neuron:
        yield ok("pytorch", f"{machine.packages['torch']}, Python {_dotted(machine.python)}")
    else:
        yield _family(machine, torch)
        if machine.accelerator == "xla":
            yield _xla(machine, torch)
        yield _python(machine)
    if machine.has_neuron:
        yield _compiler(machine)
        yield _driver(numbers(machine.driver), numbers(machine.runtime), machine)


def numbers(text: str | None) -> Version | None:
    """Return the first two numbers of a version: (2, 14) of `2.14.3+abc`; None if there are none."""
    match = re.match(r"(\d+)\.(\d+)", text or "")
    return (int(match[1]), int(match[2])) if match else None


def _family(machine: Machine, torch: Version) -> Result:
    written = machine.packages.get("torch-neuronx")
    neuron = numbers(written)
    if neuron is None:
        return failed("torchneuron", "torch-neuronx is not installed", _image(machine))
    both = f"PyTorch {machine.packages['torch']} and torch-neuronx {written}"
    families = _listed(machine)
    if neuron not in FAMILIES[machine.accelerator]:
        return failed("torchneuron", both, f"Install torch-neuronx {families}: {_OTHER[machine.accelerator]}.")
    if neuron != torch:
        remedy = f"Install both as {families}. {_image(machine)}"
        return failed("torchneuron", f"{both} are of two families", remedy)
    return ok("torchneuron", both)


def _xla(machine: Machine, torch: Version) -> Result:
    """PyTorch/XLA itself, and the plugin without which it takes the CPU and only warns."""
    written, plugin = machine.packages.get("torch-xla"), machine.packages.get("libneuronxla")
    if numbers(written) != torch:
        what = f"torch-xla {written} is not for PyTorch {machine.packages['torch']}"
        return failed("torch-xla", what if written else "it is not installed", _image(machine))
    if plugin is None:
        return failed("torch-xla", "libneuronxla is not installed, and without it the CPU computes", _image(machine))
    return ok("torch-xla", f"{written}, libneuronxla {plugin}")


def _python(machine: Machine) -> Result:
    first, last = PYTHON[machine.accelerator]
    if not first <= machine.python <= last:
        text = f"{_dotted(machine.python)}; torch-neuronx has wheels for {_dotted(first)} to {_dotted(last)}"
        return failed("python", text, _image(machine))
    return ok("python", _dotted(machine.python))


def _compiler(machine: Machine) -> Result:
    versions = {name: machine.packages.get(name) for name in _NEEDED[machine.accelerator]}
    missing = [name for name, version in versions.items() if version is None]
    if missing:
        return failed("compiler", f"{' and '.join(missing)} not installed", _image(machine))
    return ok("compiler", ", ".join(f"{name} {version}" for name, version in versions.items()))


def _driver(driver: Version | None, runtime: Version | None, machine: Machine) -> Result:
    if driver is None:
        remedy = "Install aws-neuronx-dkms on the node, and load it; in a container /sys must be visible."
        return failed("driver", "the kernel has no Neuron driver", remedy)
    if runtime is None:
        text = f"{machine.driver}; the runtime library libnrt was not found"
        return unknown("driver", text, "Look at the version that aws-neuronx-runtime-lib has in the image.")
    both = f"driver {machine.driver}, runtime {machine.runtime}"
    for first, needed in FIRST_DRIVER_OF_RUNTIME.items():
        if runtime >= first and driver < needed:
            remedy = f"Update aws-neuronx-dkms on the node to {_dotted(needed)} or later."
            return failed("driver", f"{both} do not work together", remedy)
    for first, needed in FIRST_RUNTIME_OF_DRIVER.items():
        if driver >= first and runtime < needed:
            remedy = f"Use an image with aws-neuronx-runtime-lib {_dotted(needed)} or later."
            return failed("driver", f"{both} do not work together", remedy)
    tested = TESTED_DRIVER.get(runtime)
    if tested is None or driver < tested:
        released = f"driver {_dotted(tested)}" if tested else "a driver that this release does not know"
        remedy = "If the start fails in nrt_init, update aws-neuronx-dkms on the node."
        return unknown("driver", f"{both}; that runtime was released with {released}", remedy)
    return ok("driver", both)


def _image(machine: Machine) -> str:
    return f"Use the image of target {_IMAGES[machine.accelerator]} (trainer-image/Dockerfile)."


def _listed(machine: Machine) -> str:
    return " or ".join(f"{_dotted(family)}.*" for family in sorted(FAMILIES[machine.accelerator]))


def _dotted(version: Version) -> str:
    return ".".join(map(str, version))
