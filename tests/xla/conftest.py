"""Lazy XLA on the CPU: `make test-xla`, in an environment with PyTorch 2.9 and torch-xla. Not part of `make test`.

It does not prove that neuronx-cc takes the graphs, nor its numbers; collectives between processes are not run here.
"""

import os

collect_ignore_glob = [] if os.environ.get("NTO_TEST_XLA") else ["test_*.py"]
