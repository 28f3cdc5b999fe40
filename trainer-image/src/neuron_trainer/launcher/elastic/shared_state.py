"""What the agents of one launcher share, and how a failure is put on record.

`RestartBudget` says what a restart costs: only a failure of this node's own process counts, not the loss of a peer.
"""

import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from torch.distributed.elastic.multiprocessing.errors import ProcessFailure as TorchFailure

from neuron_api.resource.progress import ProcessFailure, failure_headline, last_lines
from neuron_trainer.ipc.phases import Phases
from neuron_trainer.ipc.worker_channel import WorkerChannel
from neuron_trainer.launcher.status import Status
from neuron_trainer.launcher.termination import StopRequest

from .failure import describe
from .stderr import Stderr

_FREE_REJOINS: Final = 3
"""Rounds in a row without a finished step that a lost peer may cost before they count as failures."""
_DEVICE_PATIENCE: Final = 120.0
"""Seconds for which a device that is not free costs no restart: a process that was killed holds it until the driver has
taken it down."""


@dataclass
class RestartBudget:
    """The restarts of this launcher, over all of its agents."""

    remaining: int
    idle_rejoins: int = 0
    rounds: int = 0
    busy_since: float | None = None
    """When the device was first found not to be free, on the monotonic clock."""

    def take(self) -> bool:
        """Use one restart; return False when there is none."""
        self.remaining -= 1
        return self.remaining >= 0

    def take_for_peer(self, made_progress: bool) -> bool:
        """Allow a restart for a lost peer, which is free as long as training makes progress."""
        self.idle_rejoins = 0 if made_progress else self.idle_rejoins + 1
        return self.idle_rejoins <= _FREE_REJOINS or self.take()

    def take_for_device(self, made_progress: bool, now: float) -> bool:
        """Return whether a device that was not free is waited for, which is free for a while."""
        if made_progress or self.busy_since is None:
            self.busy_since = now
        return now - self.busy_since < _DEVICE_PATIENCE


log = logging.getLogger(__name__)


@dataclass
class SharedState:
    """What the agents of one launcher share."""

    channel: WorkerChannel
    status: Status
    stop: StopRequest
    budget: RestartBudget
    own_children: set[int]
    """Processes that others wait for: the forkserver and multiprocessing's resource tracker."""
    stderr: Stderr
    check_lease: Callable[[], None] = lambda: None
    """Raises `DirectoryLostError` once another run has the directory."""
    phases: Phases = field(default_factory=Phases)
    """The phases of the round that is being started."""
    is_compiled: bool = False
    """Whether a compile phase has run since this launcher started."""
    launch: str = field(default_factory=lambda: secrets.token_hex(8))
    """This launcher among those of the run."""
    last_failure: str = ""
    """The headline and traceback of the newest failure, for the termination message."""

    def description(self, failure: TorchFailure) -> tuple[str, str]:
        """Return one line about a failure, and all that the process said of it."""
        return describe(failure, lambda: self.stderr.tail(failure.local_rank))

    def record_failure(self, rank: int, failure: TorchFailure) -> None:
        """Add a failure to the report, the log and the termination message."""
        headline, text = self.description(failure)
        self.status.add_failure(
            ProcessFailure(
                time=datetime.now(UTC),
                round=self.budget.rounds - 1,
                rank=rank,
                local_rank=failure.local_rank,
                exit_code=failure.exitcode,
                step=self.status.step,
                message=headline,
                lines=last_lines(text),
            )
        )
        self.last_failure = f"{failure_headline(rank, self.status.step, headline)}\n{text}".strip()
        log.error("%s", self.last_failure)
