"""Node 0 owns the directories that its run writes to, from before the first write until the end."""

import logging
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final

from neuron_api.findings.finding import error
from neuron_trainer.errors import DirectoryHeldError, DirectoryLostError, InputError
from neuron_trainer.ipc.worker_channel import WorkerChannel
from neuron_trainer.storage.lease import (
    LEASE_SECONDS,
    RENEW_SECONDS,
    STOPPING_SECONDS,
    DirectoryLease,
    Holder,
    HolderState,
)

from .termination import StopRequest

log = logging.getLogger(__name__)

POD_PATIENCE: Final = 60.0
"""Seconds for which a pod waits for a living holder: a job that is created again under its name meets the pods of the
one before, which have not been asked to stop yet."""


class DirectoryOwner:
    """Holds leases while it is entered.

    A thread renews them and publishes the result in the worker channel, which workers read before they write.
    """

    def __init__(
        self, leases: Sequence[DirectoryLease], channel: WorkerChannel, stop: StopRequest, patience: float
    ) -> None:
        self._leases, self._channel, self._stop, self._patience = leases, channel, stop, patience
        self._loss = ""
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

    def __enter__(self) -> "DirectoryOwner":
        for number, lease in enumerate(self._leases):
            try:
                self._acquire(lease)
            except BaseException:
                for earlier in self._leases[:number]:
                    earlier.release()
                raise
        self._publish()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self._ends.set()
        self._thread.join()
        for lease in self._leases:
            lease.release()

    def _acquire(self, lease: DirectoryLease) -> None:
        self._stop.is_waiting = True  # SIGTERM ends the wait at once
        try:
            lease.acquire(self._patience, partial(_announce, patience=self._patience))
        except DirectoryHeldError as problem:
            raise InputError([error("exp_manager", f"{problem}.", _remedy(problem))]) from None
        except OSError as problem:
            message = f"{lease.folder} cannot be locked: {problem.strerror or problem}."
            raise InputError([error("exp_manager", message, "Give a directory that this pod may write.")]) from None
        finally:
            self._stop.is_waiting = False

    def check(self) -> None:
        """Raise `DirectoryLostError` once another run has a directory."""
        if self._loss:
            raise DirectoryLostError(self._loss)

    def _run(self) -> None:
        while not self._ends.wait(RENEW_SECONDS):
            try:
                for lease in self._leases:
                    if self._stop.is_requested:
                        lease.announce_stop()
                    lease.renew()
            except DirectoryLostError as problem:
                self._loss = str(problem)
            except OSError as problem:
                log.warning("the lock of %s cannot be renewed: %s", self._leases[0].folder, problem.strerror or problem)
            self._publish()
            if self._loss:
                return

    def _publish(self) -> None:
        self._channel.write_lease(min(lease.valid_until for lease in self._leases), self._loss)


def _announce(holder: Holder, patience: float) -> None:
    if holder.state is HolderState.STOPPING:
        log.info("the log directory is held by %s, which is stopping; waiting at most %.0f s", holder, STOPPING_SECONDS)
        return
    seconds = max(LEASE_SECONDS, patience)
    log.info("the log directory is held by %s; waiting at most %.0f s to see whether that still runs", holder, seconds)


def _remedy(problem: DirectoryHeldError) -> str:
    return (
        "Stop that run, or give this one a directory of its own. A run that has died gives its directory up within "
        f"{LEASE_SECONDS:.0f} s by itself; if you know that it is gone, remove {problem.lock}."
    )


def folders(log_dir: Path, checkpoints: Path) -> list[Path]:
    """Create and return the directories to own: checkpoints that lie elsewhere may be another run's, too."""
    from neuron_trainer.storage import places

    own = [log_dir] if places.is_remote(checkpoints) or checkpoints.is_relative_to(log_dir) else [log_dir, checkpoints]
    for folder in own:
        folder.mkdir(parents=True, exist_ok=True)
    return own
