"""Plain PyTorch modules, readable top to bottom, no parallelism inside; a folder per family, the same files in each."""
