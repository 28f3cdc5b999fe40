"""The native backend: DeviceMesh, DTensor tensor and sequence parallelism, FSDP2; `cpu`/gloo or `neuron`/neuron.

`backend` is not imported here: FSDP and pipelining take 0.8 s, and the launcher only asks `limits`.
"""
