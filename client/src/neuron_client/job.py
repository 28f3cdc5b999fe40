"""A job at one moment, the same from a cluster and from this machine; drawn as a card in a notebook."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from neuron_api.resource.job import NeuronTrainingJob
from neuron_api.resource.status import Phase

from . import notebook_view

FINISHED: Final = (Phase.SUCCEEDED.value, Phase.FAILED.value)
"""Phases of a job that is over."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is known of a job when it is read; `client.get(job)` reads it again."""

    name: str
    phase: str
    """Pending, Starting, Compiling, Running, Restarting, Suspending, Suspended, Succeeded or Failed."""
    message: str = ""
    """Why it is in this phase, and what to do, in a sentence."""
    namespace: str = ""
    """Empty for a local run."""
    step: int = 0
    """Finished optimizer steps."""
    max_steps: int | None = None
    """Steps after which training ends."""
    loss: float | None = None
    tokens_per_second: float | None = None
    seconds_left: float | None = None
    """Estimate of the time to the last step."""
    checkpoint_step: int | None = None
    """Step of the newest complete checkpoint."""
    checkpoint_path: str = ""
    nodes: int | None = None
    """None before the operator has looked at the job."""
    ready_nodes: int | None = None
    restarts: int = 0
    steps_lost: int = 0
    """Finished steps that had to be done again."""
    goodput: float | None = None
    """Share of the time spent on steps that were kept, 0 to 1."""
    created: datetime | None = None
    started: datetime | None = None
    completed: datetime | None = None
    log_dir: str = ""
    """Of a local run: metrics, checkpoints and the trainer's logs."""
    resource: NeuronTrainingJob | None = None
    """The object on the cluster, typed, with every condition and the ledger of restarts; None for a local run."""

    @property
    def is_finished(self) -> bool:
        """Return whether the job is over."""
        return self.phase in FINISHED

    @property
    def progress(self) -> float | None:
        """Return the finished share of the steps, 0 to 1; None where the job has no last step."""
        return min(1.0, self.step / self.max_steps) if self.max_steps else None

    def __str__(self) -> str:
        goal = f" of {self.max_steps}" if self.max_steps else ""
        loss = f", loss {self.loss:.4f}" if self.loss is not None else ""
        return f"{self.name}: {self.phase}, step {self.step}{goal}{loss}"

    def _repr_html_(self) -> str:
        return notebook_view.job_card(self)


class JobList(tuple[Job, ...]):
    """Jobs by name; a table in a notebook."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return notebook_view.job_table(self)
