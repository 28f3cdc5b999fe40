"""The trainer: a launcher over PyTorch's elastic agent and a Lightning loop on a parallel backend.

Reading order: `trainer-image/README.md`. Nothing here imports `neuron_operator`.
"""
