"""What every worker needs, imported once in the forkserver: a restarted worker is a fork, not 9 s of imports.

No device runtime may be initialised here and no thread started.
"""

import signal
import threading
import warnings

import datasets
import torch.distributed.checkpoint
import torch.distributed.elastic.multiprocessing.api
import torch.distributed.fsdp
import torch.distributed.tensor.parallel  # noqa: F401
from torch.multiprocessing import _prctl_pr_set_pdeathsig  # type: ignore[attr-defined]

# Lightning 2.6 on torch 2.14, about its own code.
warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*", category=FutureWarning)

import neuron_trainer.loop.run  # noqa: E402
import neuron_trainer.worker  # noqa: E402, F401

# tqdm's own lock is a semaphore of the system, which a killed worker would leave behind.
datasets.utils.tqdm.set_lock(threading.RLock())

# A launcher that is killed takes its workers along: they die with the forkserver, which on its own lives as long as one
# of them does (each holds the pipe whose end would tell it).
_prctl_pr_set_pdeathsig(signal.SIGKILL)
