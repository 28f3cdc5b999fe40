"""What every worker needs, imported once in the forkserver: a restarted worker is a fork, not 5 s of imports.

No device runtime may be initialised here and no thread started.
"""

import signal
import threading
import warnings

# A signal for the whole process group (Ctrl-C, a stop by a service manager) is for the launcher to answer;
# `forkserver.start` blocks both until here.
for _number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(_number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))

# Lightning 2.6 on torch 2.14, about its own code.
warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*", category=FutureWarning)

from neuron_trainer.launcher import import_filter  # noqa: E402

import_filter.import_lightning()

import torch.distributed.checkpoint  # noqa: E402
import torch.distributed.elastic.multiprocessing.api  # noqa: E402
import torch.distributed.fsdp  # noqa: E402
import torch.distributed.tensor.parallel  # noqa: E402, F401
import tqdm  # type: ignore[import-untyped]  # noqa: E402
from torch.multiprocessing import _prctl_pr_set_pdeathsig  # type: ignore[attr-defined]  # noqa: E402

import neuron_trainer.data.rows  # noqa: E402
import neuron_trainer.loop.testing  # noqa: E402
import neuron_trainer.worker  # noqa: E402, F401

# tqdm's own lock is a semaphore of the system, which a killed worker would leave behind.
tqdm.tqdm.set_lock(threading.RLock())

# A launcher that is killed takes its workers along: they die with the forkserver, which on its own lives as long as one
# of them does (each holds the pipe whose end would tell it).
_prctl_pr_set_pdeathsig(signal.SIGKILL)
