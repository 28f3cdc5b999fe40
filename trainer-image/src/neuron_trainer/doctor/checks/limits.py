"""Are the limits of a process high enough?"""

from collections.abc import Iterator
from typing import Final

from neuron_trainer.doctor.machine import Machine
from neuron_trainer.doctor.result import Result, failed, ok

OPEN_FILES: Final = {"neuron": 65_536}
"""By accelerator; that of Neuron is what AWS's troubleshooting of large trainings sets."""
_OPEN_FILES: Final = 1024
_MIB: Final = 2**20


def results(machine: Machine) -> Iterator[Result]:
    """Yield the lines about limits."""
    yield _open_files(machine)
    if machine.accelerator == "neuron" and machine.efa_files:
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
