"""The native backend: DeviceMesh, DTensor tensor and sequence parallelism, FSDP2; `cpu`/gloo or `neuron`/neuron."""

from .backend import NativeBackend

__all__ = ["NativeBackend"]
