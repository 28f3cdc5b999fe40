"""Node 0 holds the directories that its run writes to, from before the first write until the end."""

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

from neuron_api.findings.finding import error
from neuron_trainer.errors import InputError, LeaseHeldError, LeaseLostError
from neuron_trainer.ipc.worker_channel import WorkerChannel
from neuron_trainer.storage.lease import LEASE_SECONDS, RENEW_SECONDS, Holder, Lease

from .stop import Stop

log = logging.getLogger(__name__)

POD_PATIENCE: Final = 60.0
"""Seconds that a pod waits for a living holder: a job that is created again under its name meets the pods of the one
before, which have not been asked to stop yet."""


class Holding:
    """A thread renews; what it knows is in the hand-over for the workers, who look before they write."""

    def __init__(self, leases: Sequence[Lease], handoff: WorkerChannel, stop: Stop, patience: float) -> None:
        self._leases, self._handoff, self._stop, self._patience = leases, handoff, stop, patience
        self._lost = ""
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

    def __enter__(self) -> "Holding":
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

    def _acquire(self, lease: Lease) -> None:
        self._stop.is_waiting = True  # SIGTERM ends the wait at once
        try:
            lease.acquire(self._patience, _announce)
        except LeaseHeldError as problem:
            raise InputError([error("exp_manager", f"{problem}.", _remedy(problem))]) from None
        except OSError as problem:
            told = f"{lease.folder} cannot be locked: {problem.strerror or problem}."
            raise InputError([error("exp_manager", told, "Give a directory that this pod may write.")]) from None
        finally:
            self._stop.is_waiting = False

    def check(self) -> None:
        """Raises `LeaseLostError` once the directory is another's."""
        if self._lost:
            raise LeaseLostError(self._lost)

    def _run(self) -> None:
        while not self._ends.wait(RENEW_SECONDS):
            try:
                for lease in self._leases:
                    if self._stop.is_requested:
                        lease.stopping()
                    lease.renew()
            except LeaseLostError as problem:
                self._lost = str(problem)
            except OSError as problem:
                log.warning("the lock of %s cannot be renewed: %s", self._leases[0].folder, problem.strerror or problem)
            self._publish()
            if self._lost:
                return

    def _publish(self) -> None:
        self._handoff.write_lease(min(lease.valid_until for lease in self._leases), self._lost)


def _announce(holder: Holder) -> None:
    log.info("the log directory is held by %s; waiting until it is known whether that still runs", holder)


def _remedy(problem: LeaseHeldError) -> str:
    return (
        "Stop that run, or give this one a directory of its own. A run that has died gives its directory up within "
        f"{LEASE_SECONDS:.0f} s by itself; if you know that it is gone, remove {problem.lock}."
    )


def folders(log_dir: Path, checkpoints: Path) -> list[Path]:
    """Those to hold: checkpoints that lie elsewhere may be another run's, too. Both are made."""
    from neuron_trainer.storage import places

    own = [log_dir] if places.is_remote(checkpoints) or checkpoints.is_relative_to(log_dir) else [log_dir, checkpoints]
    for folder in own:
        folder.mkdir(parents=True, exist_ok=True)
    return own
