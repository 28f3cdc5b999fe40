"""The memory tier: each process's state after a step in shared memory, which outlives the process (B-10;
docs/design/027-memory-checkpoints.md).

`slot` is one copy of one process in one file, `copies` makes them beside training, `agreement` finds the newest step
that all processes have. The launcher owns the folder (`launcher/memory_folder`).
"""
