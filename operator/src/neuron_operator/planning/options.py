"""The operator's settings that a plan depends on."""

from dataclasses import dataclass

from neuron_api.resource.scheduling import GangScheduler

from .failures import failure_table
from .failures.failure_table import FailureTable


@dataclass(frozen=True, slots=True)
class Options:
    """Images and intervals; `settings` fills it from the command line."""

    failures: FailureTable = failure_table.EMPTY
    """What failures mean; replaced while the operator runs, when its file changes (`failure_rules`)."""
    image_cpu: str = ""
    image_neuron: str = ""
    gang_schedulers: frozenset[GangScheduler] = frozenset()
    """What the operator may use, because it has the rights for it."""
    poll_seconds: float = 5.0
    """Between two looks at a running job's progress."""
    wait_seconds: float = 10.0
    """Between two looks for something that no event announces: a claim, the source of a configuration."""
