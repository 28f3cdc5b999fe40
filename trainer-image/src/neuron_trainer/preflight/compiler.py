"""Whether this image has the compiler of a run (`model.compile`), which would be missed in the first step."""

import os
import shutil
from importlib.util import find_spec
from typing import Final

from neuron_api.config import TrainingConfig
from neuron_api.derive import compiler
from neuron_api.findings.finding import Finding, error

_KEY: Final = "model.compile"
_EAGER: Final = f"Use an image that has it, or `{compiler.EAGER}`."


def check(config: TrainingConfig, accelerator: str) -> list[Finding]:
    """Return the finding; imports PyTorch's compiler (2 s) only for one that is not the device's own."""
    backend = compiler.backend(config, accelerator)
    if backend is None:
        return []
    if backend == "inductor":
        return _tools(accelerator)
    return [] if backend == compiler.OF_DEVICE.get(accelerator) else _name(backend)


def _name(backend: str) -> list[Finding]:
    from torch._dynamo.backends.registry import list_backends

    if backend in list_backends(exclude_tags=()):
        return []
    names = ", ".join((compiler.AUTO, compiler.EAGER, "aot_eager", *list_backends()))
    return [error(_KEY, f"PyTorch in this image has no compiler {backend!r}.", f"Use one of {names}.")]


def _tools(accelerator: str) -> list[Finding]:
    """Inductor writes C++ for the CPU (as `torch._inductor.config.cpp.cxx` finds its compiler), Triton for a GPU."""
    if accelerator != "cpu":
        return [] if find_spec("triton") else [error(_KEY, "inductor needs Triton, which is not installed.", _EAGER)]
    name = os.environ.get("CXX", "g++")
    if shutil.which(name):
        return []
    return [error(_KEY, f"inductor needs a C++ compiler, and {name!r} is not on PATH.", _EAGER)]
