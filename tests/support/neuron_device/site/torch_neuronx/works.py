"""Collectives under way: one after the other, in the order they were issued; results arrive by `wait`.

A program that needs two of them to overlap hangs here, as it might on the device, and one that reads a result before
it has waited reads NaN.
"""

import os
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import timedelta
from typing import Any, Final

import torch
import torch.distributed as dist
from torch import Tensor

from . import _C, rules

LOST_PEER: Final = (
    "TDRV:exec_request_check_proxy_done_state  [nec_dev 0 gid {rank}] Timeout exceeded: Waiting on barrier proxy task: "
    "120 sec"
)
_Task = tuple[Callable[[], None], Future[None]]
_QUEUE: Final[queue.SimpleQueue[_Task]] = queue.SimpleQueue()
_THREADS: Final[list[threading.Thread]] = []


def issue(task: Callable[[], None]) -> "Future[None]":
    """Queue a collective."""
    if not _THREADS:
        _THREADS.append(threading.Thread(target=_serve, name="neuron collectives", daemon=True))
        _THREADS[0].start()
    done: Future[None] = Future()
    _QUEUE.put((task, done))
    return done


def _serve() -> None:
    while True:
        task, done = _QUEUE.get()
        try:
            task()
        except BaseException as error:  # whoever waits is told
            done.set_exception(error)
        else:
            done.set_result(None)


class Sending:
    """A message under way: messages overlap with one another and with collectives."""

    def __init__(self, work: dist.Work) -> None:
        self._work = work

    def result(self, timeout: float | None = None) -> None:
        """Wait for it."""
        self._work.wait()

    def done(self) -> bool:
        """Return whether it has arrived."""
        return bool(self._work.is_completed())


class NeuronWork(dist.Work):
    """A collective under way, with what it will have computed and where that goes."""

    def __init__(self, done: "Future[None] | Sending", results: Sequence[tuple[Tensor, Tensor]], rank: int) -> None:
        super().__init__()
        self._done, self._results, self._rank = done, list(results), rank
        for place, _ in self._results:
            rules.poison(_C.host_view(place))

    def wait(self, timeout: timedelta = timedelta(0)) -> bool:
        """Let the device wait for the result; what comes after this sees it."""
        try:
            self._done.result(timeout.total_seconds() or None)
        except RuntimeError as error:
            self._lose_peer(error)
        for place, value in self._results:
            _C.host_view(place).copy_(value)
        self._results.clear()
        return True

    def _lose_peer(self, error: RuntimeError) -> None:
        """Say what the runtime says of a peer that is gone; `NEURON_STANDIN_LOST_PEER=abort`: die as it does."""
        words = LOST_PEER.format(rank=self._rank)
        if os.environ.get("NEURON_STANDIN_LOST_PEER") == "abort":
            os.write(2, f"{words}\n".encode())
            os.abort()
        raise RuntimeError(f"{words} (stand-in: {error})") from error

    def is_completed(self) -> bool:
        """Return whether waiting would not take time."""
        return self._done.done()

    def get_future(self) -> torch.futures.Future[Any]:
        """Return a future that is done: it waits first."""
        results = [place for place, _ in self._results]
        self.wait()
        future: torch.futures.Future[Any] = torch.futures.Future()
        future.set_result(results)
        return future
