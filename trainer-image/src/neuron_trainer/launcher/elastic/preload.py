"""What every worker needs, imported once in the forkserver: a restarted worker is a fork, not 5 s of imports.

No device runtime may be initialised here and no thread started. Lightning is imported without matplotlib, transformers
and rich: they are a third of all that a worker would import, and no step needs them.
"""

import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError
from typing import Any, Final

# A signal for the whole process group (Ctrl-C, a stop by a service manager) is for the launcher to answer;
# `forkserver.start` blocks both until here.
for _number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(_number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))

# Lightning 2.6 on torch 2.14, about its own code.
warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*", category=FutureWarning)

UNNEEDED: Final = ("matplotlib", "transformers", "rich")


def import_lightning() -> None:
    """Import Lightning without what no step needs, before anything else imports it.

    Lightning imports torchmetrics for two classes, and torchmetrics imports matplotlib and transformers, where they are
    installed, for plots and for scores of texts; rich is for a progress bar of Lightning's own. While Lightning is
    imported they count as not installed. Then torchmetrics is forgotten: whoever imports it afterwards, as a data
    module of a user may, has all of it, and Lightning keeps the classes that it has.
    """
    with _hidden(*(name for name in UNNEEDED if name not in sys.modules)):
        import lightning.pytorch  # noqa: F401
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchmetrics"]:
        del sys.modules[name]


@contextmanager
def _hidden(*packages: str) -> Iterator[None]:
    """Let packages count as not installed: for `import`, and for the libraries' own question (`RequirementCache`)."""
    from lightning_utilities.core import imports

    names = vars(imports)
    version = names["_version"]

    def version_of(name: str) -> Any:
        if name in packages:
            raise PackageNotFoundError(name)
        return version(name)

    modules: dict[str, Any] = sys.modules
    modules.update(dict.fromkeys(packages))  # None: an import fails
    names["_version"] = version_of
    try:
        yield
    finally:
        names["_version"] = version
        for name in packages:
            del modules[name]


import_lightning()

import torch.distributed.checkpoint  # noqa: E402
import torch.distributed.elastic.multiprocessing.api  # noqa: E402
import torch.distributed.fsdp  # noqa: E402
import torch.distributed.tensor.parallel  # noqa: E402, F401
import tqdm  # type: ignore[import-untyped]  # noqa: E402
from torch.multiprocessing import _prctl_pr_set_pdeathsig  # type: ignore[attr-defined]  # noqa: E402

import neuron_trainer.data.rows  # noqa: E402
import neuron_trainer.loop.testing  # noqa: E402
import neuron_trainer.worker  # noqa: E402, F401
from neuron_trainer import parallel  # noqa: E402

for _name in parallel.backends():
    # A backend that the image's PyTorch is too old for; a run that is its own fails when its worker imports it.
    with suppress(ImportError):
        parallel.provider(_name).preload()

# tqdm's own lock is a semaphore of the system, which a killed worker would leave behind.
tqdm.tqdm.set_lock(threading.RLock())

# A launcher that is killed takes its workers along: they die with the forkserver, which on its own lives as long as one
# of them does (each holds the pipe whose end would show it).
_prctl_pr_set_pdeathsig(signal.SIGKILL)
