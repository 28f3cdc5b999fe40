"""The accelerators there are, by PyTorch's name of the device. A new one is a line here."""

from typing import Final

import torch

from .accelerator import Accelerator

_GLOO: Final = (
    "gloo",
    "Connection closed by peer",
    "Connection reset by peer",
    "Socket closed",
    "recvBytes",
    "sendBytes",
)
"""Every run has a gloo group: the one of its hosts."""
_NRT: Final = (
    "barrier proxy task",
    "Work timed out",
    "Watchdog caught collective operation timeout",
    "Operation aborted due to timeout",
    "Stuck in collectives op",
    "EFA network proxy failure",
    "Timeout waiting for RX",
    "connection closed by remote peer",
)
"""Of the Neuron runtime and of TorchNeuron's watchdog (docs/reference/upstream-facts.md#torchneuron-words)."""
_COMPILE_SECONDS: Final = 6 * 3600
"""A process whose graphs others have compiled waits in a collective for as long; TorchNeuron's watchdog completes one
that is late, and training would go on with what has not arrived."""
_STALE: Final = ("Logical Neuron Core(s) not available", "Failed to execute the device barrier")
"""Of the Neuron runtime, in the start of a process, while one before it is not quite gone."""
_NCCL: Final = ("ncclRemoteError", "remote process exited", "NCCL communicator was aborted")
_NEURON_NAN: Final = (
    "Or it is a fault of the device's attention: in eager mode with FSDP its backward pass is known to give NaN in "
    "samples of this length; use shorter ones, or context parallelism."
)

_ALL: Final = {
    "cpu": Accelerator(name="cpu", collectives="gloo", widest=torch.float64, peer_loss=_GLOO),
    "neuron": Accelerator(
        name="neuron",
        collectives="neuron",
        widest=torch.float32,
        integers=torch.int32,
        compile_seconds=_COMPILE_SECONDS,
        package="torch_neuronx",
        timeout_variable="NEURON_RT_EXEC_TIMEOUT",
        peer_loss=(*_GLOO, *_NRT),
        aborts_without_peers=True,
        wants_contiguous=True,
        defers_errors=True,
        busy=_STALE,
        nan_note=_NEURON_NAN,
        nan_tokens=4096,
    ),
    "xla": Accelerator(
        name="xla",
        collectives="cpu:gloo,xla:xla",
        widest=torch.float32,
        compile_seconds=_COMPILE_SECONDS,
        module="neuron_trainer.accelerators.lazy",
        joins=True,
        has_capturable=False,
        has_gather=False,  # of a vocabulary: known to give zeros, without an error
        is_lazy=True,
        package="torch_xla",
        timeout_variable="NEURON_RT_EXEC_TIMEOUT",
        peer_loss=(*_GLOO, *_NRT),
        aborts_without_peers=True,
        busy=_STALE,
    ),
    "cuda": Accelerator(
        name="cuda",
        collectives="nccl",
        widest=torch.float32,
        compile_seconds=1800,
        aborts_without_peers=True,
        peer_loss=(*_GLOO, *_NCCL),
    ),
}


def names() -> tuple[str, ...]:
    """Return the names of all accelerators."""
    return tuple(_ALL)


def get(name: str) -> Accelerator:
    """Return the accelerator of a device type."""
    return _ALL[name]
