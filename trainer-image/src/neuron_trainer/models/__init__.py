"""Plain PyTorch modules, readable top to bottom, with no parallelism inside; one folder per family, same files in each."""
