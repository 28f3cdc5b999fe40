"""Memory of a pod with copies of its state (`spec.memoryCheckpoints`): what it asks its node for, and whether its own
limit holds it."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from neuron_api import contract, memory_copies
from neuron_api.config import TrainingConfig
from neuron_api.findings.finding import Finding, error
from neuron_api.platform.instances import generation_of
from neuron_api.resource.accelerator import Accelerator, Stack
from neuron_api.resource.spec import JobSpec

_MEBIBYTE: Final = 2**20
_QUANTITY: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?)([KMGTPE]i|[kMGTPE])?")
_SUFFIXES: Final[dict[str | None, int]] = {
    None: 1,
    **{suffix: 1000**power for power, suffix in enumerate(("k", "M", "G", "T", "P", "E"), start=1)},
    **{f"{suffix}i": 1024**power for power, suffix in enumerate(("K", "M", "G", "T", "P", "E"), start=1)},
}


def copies(spec: JobSpec, config: TrainingConfig) -> int | None:
    """Return the bytes of a pod's copies; None where it has none, or the model's sizes are in a file of a volume."""
    if spec.memory_checkpoints is None:
        return None
    generation = generation_of(spec.platform.instance_type) if spec.platform.instance_type else None
    is_native = generation is None or generation.stack is not Stack.XLA
    return memory_copies.of_config(spec.memory_checkpoints, config, is_native=is_native)


def processes(spec: JobSpec, config: TrainingConfig) -> int:
    """Return the bytes that a pod's processes need at least beside their copies; those of devices are not known."""
    if spec.memory_checkpoints is None or spec.platform.accelerator is not Accelerator.CPU:
        return 0
    return memory_copies.of_processes(config) or 0


def request(needed: int | None) -> dict[str, str]:
    """Return what the container requests for the copies; what its processes need besides is the user's to say."""
    return {"memory": f"{-(-needed // _MEBIBYTE)}Mi"} if needed else {}


def findings(template: Mapping[str, Any] | None, needed: int | None, beside: int) -> Iterator[Finding]:
    """Yield a finding for a limit that copies and processes (`beside`) exceed: the pod would be killed for memory."""
    containers = _mapping(_mapping(template).get("spec")).get("containers")
    for container in containers if isinstance(containers, list) and needed else ():
        if _mapping(container).get("name") != contract.CONTAINER:
            continue
        for part in ("limits", "requests"):
            value = _mapping(_mapping(_mapping(container).get("resources")).get(part)).get("memory")
            size, least = parse(value), needed or 0
            words = "alone"
            if part == "limits" and size is not None and size > least:
                least, words = least + beside, "with the processes"
            if size is not None and size <= least:
                key = f"spec.podTemplate.spec.containers[{contract.CONTAINER}].resources.{part}.memory"
                message = (
                    f"{value} is not more than the copies in memory need {words} "
                    f"({memory_copies.KEY}: {request(least)['memory']})."
                )
                yield error(key, message, "Raise it by what the processes need besides, or remove it.")


def parse(value: object) -> int | None:
    """Return the bytes of a quantity as Kubernetes writes it; None for anything else, which the API server refuses."""
    match = _QUANTITY.fullmatch(str(value)) if isinstance(value, str | int) else None
    return int(float(match[1]) * _SUFFIXES[match[2]]) if match else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
