"""Are the Neuron devices there, free, and divided into cores as the job expects?"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from neuron_api import contract
from neuron_trainer.doctor.machine import Answer, Machine
from neuron_trainer.doctor.result import Result, failed, ok, unknown

_PLUGIN: Final = (
    "In a pod request aws.amazon.com/neuron, as the operator does for accelerator Neuron; on the node install the "
    "driver (aws-neuronx-dkms)."
)
_LNC_NAMES: Final = ("NEURON_LOGICAL_NC_CONFIG", "NEURON_RT_VIRTUAL_CORE_SIZE")


_LNC_OF_NODE: Final = "logical_neuroncore_config"


def results(machine: Machine) -> Iterator[Result]:
    """Yield the lines about devices."""
    yield _files(machine)
    listed = machine.neuron_devices
    if listed is None:
        yield _unlisted(machine.neuron_ls)
        return
    yield _counted(machine, listed)
    if not listed:
        return
    yield _free(listed)
    yield _logical(machine, listed)


def gpus(machine: Machine) -> Result:
    """Return the line about GPUs."""
    if not machine.device_files:
        remedy = "In a pod request nvidia.com/gpu, as the operator does for accelerator CUDA."
        return failed("devices", "there is no /dev/nvidia0", remedy)
    return ok("devices", f"{len(machine.device_files)} of /dev/nvidia*")


def _files(machine: Machine) -> Result:
    files = machine.device_files
    if not files:
        return failed("devices", "there is no /dev/neuron0", _PLUGIN)
    closed = [name for name, is_open in files.items() if not is_open]
    if closed:
        remedy = "Run as a user that may read and write them, or let the device plugin mount them."
        return failed("devices", f"{', '.join(closed)} cannot be opened by this user", remedy)
    return ok("devices", f"{len(files)} of /dev/neuron*")


def _unlisted(answer: Answer) -> Result:
    if answer.is_late:
        remedy = "The driver hangs: look at dmesg on the node, and restart it."
        return failed("neuron-ls", "it did not answer in time", remedy)
    if answer.code is None:
        return unknown("neuron-ls", "it is not installed", "Install aws-neuronx-tools to see processes and cores.")
    return failed("neuron-ls", f"it failed: {answer.output[:200] or answer.code}", "Install or load the Neuron driver.")


def _counted(machine: Machine, devices: Sequence[dict[str, Any]]) -> Result:
    files, listed, cores = len(machine.device_files), len(devices), machine.logical_cores
    if listed == 0:
        return failed("neuron-ls", "it lists no device", _PLUGIN)
    processes = machine.variables.get(contract.ENV_PROCESSES_PER_NODE, "")
    if processes.isdigit() and int(processes) > cores:
        remedy = "Lower trainer.devices, or set trainer.lnc to 1 for twice the cores (Trn2, Trn3)."
        return failed("neuron-ls", f"{cores} logical cores for {processes} processes", remedy)
    kind = next((f" of {device['instance_type']}" for device in devices if device.get("instance_type")), "")
    if files != listed:
        remedy = "Compare with aws.amazon.com/neuron of the pod."
        return unknown("neuron-ls", f"{listed} devices{kind}, {files} device files", remedy)
    return ok("neuron-ls", f"{listed} devices, {cores} logical cores{kind}")


def _free(devices: Sequence[dict[str, Any]]) -> Result:
    """Cores that an earlier process still holds are the runtime's most frequent refusal after a crash."""
    processes = [process for device in devices for process in _list(device.get("neuron_processes"))]
    if processes:
        numbers = sorted({pid for process in processes if (pid := _number(process, "pid"))})
        listed = ", ".join(map(str, numbers[:8])) or f"without a number, {len(processes)},"
        remedy = "Wait until they have ended, or end them: their cores are not available."
        return failed("cores", f"processes {listed} use them", remedy)
    return ok("cores", "no process uses them")


def _logical(machine: Machine, devices: Sequence[dict[str, Any]]) -> Result:
    """LNC of the runtime and of the compiler must be the same."""
    set_values = {machine.variables[name] for name in _LNC_NAMES if name in machine.variables}
    of_driver = {str(device[_LNC_OF_NODE]) for device in devices if _LNC_OF_NODE in device}
    if len(set_values) > 1:
        remedy = "Set trainer.lnc alone; the operator sets both."
        return failed("lnc", f"{' and '.join(_LNC_NAMES)} differ", remedy)
    if set_values and of_driver and set_values != of_driver:
        remedy = "Set trainer.lnc to that of the node, or change the node's (launch template, resource claim)."
        return unknown("lnc", f"the job has {_joined(set_values)}, the node {_joined(of_driver)}", remedy)
    value = _joined(set_values or of_driver)
    return ok("lnc", value if value else "not used by this instance type")


def _joined(values: set[str]) -> str:
    return ", ".join(sorted(values))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _number(record: Any, key: str) -> int:
    value = record.get(key) if isinstance(record, dict) else None
    return value if isinstance(value, int) else 0
