"""What a start takes up: the decision table of B-11, pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from neuron_api.config import TrainingConfig

from .checkpoint import Candidate


class Origin(StrEnum):
    """Where the first step of this start comes from."""

    OWN = "own"
    """A checkpoint of this very job."""
    FOREIGN = "foreign"
    """A checkpoint of another job in the same log directory."""
    GIVEN = "given"
    """`resume_from_checkpoint`."""
    WEIGHTS = "weights"
    """`resume_from_checkpoint` with `weight_init_only`: step 0, fresh optimizer."""
    SCRATCH = "scratch"
    MISSING = "missing"
    """A checkpoint is required and there is none: exit code 2."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Candidates to try in order; when one turns out to be damaged the next is taken."""

    origin: Origin
    candidates: tuple[Candidate, ...] = ()


def decide(
    config: TrainingConfig, found: Sequence[Candidate], find_given: Callable[[], Candidate | None], job_uid: str
) -> Decision:
    """`found`: complete checkpoints of the log directory, newest first; `find_given`: resume_from_checkpoint, if set.

    What is given is looked for only when it is needed: once a run has checkpoints of its own, it may be gone. A job's
    own checkpoint beats `resume_from_checkpoint` (ambiguity A9): otherwise every restart would begin again.
    """
    manager = config.exp_manager
    own = tuple(candidate for candidate in found if candidate.manifest.job_uid == job_uid)
    foreign = tuple(candidate for candidate in found if candidate.manifest.job_uid != job_uid)
    if own and manager.resume_if_exists:
        return Decision(Origin.OWN, own)
    if (given := find_given()) is not None:
        return Decision(Origin.WEIGHTS if config.model.weight_init_only else Origin.GIVEN, (given,))
    if foreign and manager.resume_if_exists:
        return Decision(Origin.FOREIGN, foreign)
    if manager.resume_if_exists and not manager.resume_ignore_no_checkpoint:
        return Decision(Origin.MISSING)
    return Decision(Origin.SCRATCH)
