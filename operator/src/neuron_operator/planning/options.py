"""The operator's settings that a plan depends on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from neuron_api.resource.scheduling import GangScheduler

from .failures import failure_table
from .failures.failure_table import FailureTable

IMAGE_KINDS: Final = {
    "cpu": "accelerator CPU",
    "cuda": "accelerator CUDA",
    "torchneuron": "Trn2 and Trn3",
    "nxd": "Trn1",
}
"""The kinds of trainer images, and what jobs each is for; Helm values trainerImages."""


@dataclass(frozen=True, slots=True)
class Options:
    """Failure table, images, gang schedulers and intervals.

    `settings` fills it from the command line; the controller adds the failure table of the moment.
    """

    failures: FailureTable = failure_table.EMPTY
    """What failures mean; replaced while the operator runs, when its file changes (`failure_rules`).

    Empty: nothing is known about any failure.
    """
    images: Mapping[str, str] = field(default_factory=dict)
    """Trainer images of jobs without spec.image, by kind (`IMAGE_KINDS`). Jobs of another kind are refused."""
    gang_schedulers: frozenset[GangScheduler] = frozenset()
    """What the operator may use, because it has the rights for it."""
    poll_seconds: float = 5.0
    """Between two looks at a running job's progress."""
    wait_seconds: float = 10.0
    """Between two looks for something that no event announces: a claim, the source of a configuration."""
