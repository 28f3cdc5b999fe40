"""What the agents of one launcher share, and how a failure is put on record."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from torch.distributed.elastic.multiprocessing.errors import ProcessFailure as TorchFailure

from neuron_api.resource.progress import ProcessFailure, failure_headline, last_lines
from neuron_trainer.ipc.phases import Phases
from neuron_trainer.ipc.worker_channel import WorkerChannel
from neuron_trainer.launcher.status import Status
from neuron_trainer.launcher.stop import StopRequest

from .budget import RestartBudget
from .failure import describe
from .stderr import Stderr

log = logging.getLogger(__name__)


@dataclass
class AgentContext:
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
