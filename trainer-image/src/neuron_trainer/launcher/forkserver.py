"""The forkserver that workers are forked from: started before the launcher imports torch, so that both load at once."""

import multiprocessing
import multiprocessing.forkserver
import os
from collections.abc import Mapping
from typing import Final

ON_CPU: Final[Mapping[str, str]] = {"CUDA_VISIBLE_DEVICES": ""}
"""Variables of workers on CPUs: otherwise each optimizer step of a PyTorch with CUDA looks for the driver, 0.12
ms."""


def start(processes: int) -> None:
    """Begin to preload in the background; the environment of workers is that of this moment."""
    # One thread per process as torchrun does: the result of a sum depends on the number of threads, and a run must not
    # change when it is resumed on a node with other cores. A user's own value wins.
    os.environ.setdefault("OMP_NUM_THREADS", "1" if processes > 1 else str(len(os.sched_getaffinity(0))))
    # A peer that is gone is news once, not per socket; and DDP says on every rank that it found no unused parameters
    # (`data_parallel.replicated`). Read when torch is loaded.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's pool would be threads before the fork
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # jemalloc's background thread likewise
    multiprocessing.set_forkserver_preload(["neuron_trainer.launcher.preload"])
    multiprocessing.forkserver.ensure_running()
