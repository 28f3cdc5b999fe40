"""Which NeuronCore a process takes, of those that its container has."""

from collections.abc import MutableMapping
from typing import Final

from neuron_trainer.errors import DeviceError

VISIBLE_CORES: Final = "NEURON_RT_VISIBLE_CORES"
"""Which NeuronCores a process takes: `5`, or those of a whole container: `0-3,8`."""


def choose_cores(environ: MutableMapping[str, str], local_rank: int) -> None:
    """Reduce the cores that a container has to the one of this process.

    TorchNeuron takes the core of LOCAL_RANK where nothing is set, and refuses a process with several.
    """
    cores = visible_cores(environ.get(VISIBLE_CORES, ""))
    if len(cores) > 1:
        if local_rank >= len(cores):
            raise DeviceError(
                f"{VISIBLE_CORES}={environ[VISIBLE_CORES]} has {len(cores)} cores, and local rank {local_rank} needs "
                "one of its own. Set trainer.devices to the number of cores, or leave the variable out."
            )
        environ[VISIBLE_CORES] = str(cores[local_rank])
    environ.pop("NEURON_RT_NUM_CORES", None)  # a count and a list contradict each other


def visible_cores(text: str) -> list[int]:
    """Return the cores of a list with ranges, as `0-3,8`; empty where none is given. Raises `DeviceError`."""
    cores: list[int] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        first, dash, last = part.partition("-")
        try:
            cores += range(int(first), int(last if dash else first) + 1)
        except ValueError:
            raise DeviceError(f"{VISIBLE_CORES}={text} is no list of cores. Write it as 0-3 or 0,1,8.") from None
    return cores
