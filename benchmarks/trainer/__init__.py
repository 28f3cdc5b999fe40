"""The training loop against its limit, a bare PyTorch loop, and its peers. `make bench-trainer`."""
