"""The forkserver that workers are forked from: started before the launcher imports torch, so that both load at once."""

import multiprocessing
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from neuron_trainer.errors import StartError
from neuron_trainer.launcher import device_environment


def start(processes: int) -> None:
    """Begin to preload in the background; the environment of workers is that of this moment."""
    device_environment.keep_runtimes_out(os.environ)
    device_environment.name_user(os.environ)
    # One thread per process as torchrun does: the result of a sum depends on the number of threads, and a run must not
    # change when it is resumed on a node with other cores. A user's own value wins.
    os.environ.setdefault("OMP_NUM_THREADS", "1" if processes > 1 else str(len(os.sched_getaffinity(0))))
    # A peer that is gone is news once, not per socket; and DDP says on every rank that it found no unused parameters
    # (`data_parallel.replicated`). Read when torch is loaded.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's pool would be threads before the fork
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # jemalloc's background thread likewise
    multiprocessing.set_forkserver_preload(["neuron_trainer.launcher.elastic.preload"])
    multiprocessing.resource_tracker.ensure_running()  # it unblocks the signals that it blocks
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        multiprocessing.forkserver.ensure_running()  # the mask is inherited; `preload` ignores both, then unblocks them
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def pid() -> int | None:
    """Return the process id of the forkserver; None before the first start."""
    number: int | None = vars(multiprocessing.forkserver)["_forkserver"]._forkserver_pid
    return number


def kill() -> None:
    """End the forkserver at once, with what it has begun to import and the workers that it has forked.

    A worker that has just been forked opens the launcher's semaphores by their names. After the launcher's end it would
    not find them, and print a traceback.
    """
    if (number := pid()) is None:
        return
    _signal(number, signal.SIGSTOP)  # it forks nothing more while its children are listed
    for child in _children(number):
        _signal(child, signal.SIGKILL)
    _signal(number, signal.SIGKILL)


def _signal(number: int, what: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(number, what)


def _children(number: int) -> list[int]:
    """Return the children of a process; none where the system does not list them: they then end by themselves."""
    with suppress(OSError):
        return [int(child) for child in Path(f"/proc/{number}/task/{number}/children").read_text().split()]
    return []


@contextmanager
def forking() -> Iterator[None]:
    """Raise `StartError` when the forkserver is gone while workers are forked inside."""
    try:
        yield
    except (EOFError, ConnectionError):
        raise StartError(
            "the process that the workers are forked from ended while it was starting; the system may have killed it "
            "for its memory. Start again with more memory, or see the system's log."
        ) from None
