"""The operator's settings that a plan depends on."""

from dataclasses import dataclass

from neuron_api.resource.scheduling import GangScheduler

from .failures import failure_table
from .failures.failure_table import FailureTable


@dataclass(frozen=True, slots=True)
class Options:
    """Failure table, images, gang schedulers and intervals.

    `settings` fills it from the command line; the controller adds the failure table of the moment.
    """

    failures: FailureTable = failure_table.EMPTY
    """What failures mean; replaced while the operator runs, when its file changes (`failure_rules`).

    Empty: nothing is known about any failure.
    """
    image_cpu: str = ""
    """Trainer image of jobs with accelerator CPU and no spec.image; empty: such jobs are refused."""
    image_neuron: str = ""
    """The same for accelerator Neuron."""
    gang_schedulers: frozenset[GangScheduler] = frozenset()
    """What the operator may use, because it has the rights for it."""
    poll_seconds: float = 5.0
    """Between two looks at a running job's progress."""
    wait_seconds: float = 10.0
    """Between two looks for something that no event announces: a claim, the source of a configuration."""
