"""Can several nodes talk over EFA?"""

from collections.abc import Iterator
from typing import Final

from neuron_trainer.doctor.machine import Machine
from neuron_trainer.doctor.result import Result, failed, ok, unknown

_PLUGIN: Final = (
    "In a pod request vpc.amazonaws.com/efa, as the operator does for whole nodes; install its device plugin."
)


def results(machine: Machine) -> Iterator[Result]:
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
