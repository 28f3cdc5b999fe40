"""What a start takes up: the decision table of B-11, pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from neuron_api.config import TrainingConfig
from neuron_api.resource.spec import FromScratch
from neuron_trainer.checkpoint import Candidate


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
    LOST = "lost"
    """Steps were finished and there is nothing to take them up from: exit code 3."""


@dataclass(frozen=True, slots=True)
class ResumeDecision:
    """Candidates to try in order; when one turns out to be damaged the next is taken."""

    origin: Origin
    candidates: tuple[Candidate, ...] = ()


@dataclass(frozen=True, slots=True)
class EarlierRuns:
    """What is known to have been done before this start."""

    step: int = 0
    """Most finished steps."""
    saved: bool = False
    """Whether a checkpoint was ever complete."""
    from_scratch: FromScratch = FromScratch.BEFORE_FIRST_CHECKPOINT
    """`spec.restartPolicy.fromScratch`; without an operator nobody else could say it."""

    @property
    def may_begin_again(self) -> bool:
        """Whether this start may be at step 0."""
        return self.from_scratch.allows(finished_steps=self.step, has_checkpoint=self.saved)


@dataclass(frozen=True, slots=True)
class ResumeChoice:
    """What the next round takes up."""

    checkpoint: str | None = None
    """Its directory; None: nothing."""
    weights_only: bool = False
    passed_over: str = ""
    """What was wrong with newer ones."""
    text: tuple[str, ...] = ()
    """How its configuration differs from the file's (`neuron_api.resumption`)."""
    run_id: str = ""
    """Of the run that the log directory is of."""


def decide(
    config: TrainingConfig,
    found: Sequence[Candidate],
    find_given: Callable[[], Candidate | None],
    job_uid: str,
    seen: EarlierRuns,
    run_id: str = "",
) -> ResumeDecision:
    """The table of B-11, and the gate over it: what would begin again at step 0 is lost, unless that is allowed.

    `found`: complete checkpoints of the log directory, newest first; `find_given`: resume_from_checkpoint, if set;
    `run_id`: of the run that the directory is of.
    """
    decision = _decide(config, of_run(found, job_uid, run_id), find_given, job_uid)
    at_zero = decision.origin in (Origin.SCRATCH, Origin.WEIGHTS, Origin.MISSING)
    return ResumeDecision(Origin.LOST) if at_zero and not seen.may_begin_again else decision


def _decide(
    config: TrainingConfig, found: Sequence[Candidate], find_given: Callable[[], Candidate | None], job_uid: str
) -> ResumeDecision:
    """The table alone.

    What is given is looked for only when it is needed: once a run has checkpoints of its own, it may be gone. A job's
    own checkpoint beats `resume_from_checkpoint` (ambiguity A9): otherwise every restart would begin again.
    """
    manager = config.exp_manager
    own = tuple(candidate for candidate in found if candidate.manifest.job_uid == job_uid)
    foreign = tuple(candidate for candidate in found if candidate.manifest.job_uid != job_uid)
    if own and manager.resume_if_exists:
        return ResumeDecision(Origin.OWN, own)
    if (given := find_given()) is not None:
        return ResumeDecision(Origin.WEIGHTS if config.model.weight_init_only else Origin.GIVEN, (given,))
    if foreign and manager.resume_if_exists:
        return ResumeDecision(Origin.FOREIGN, foreign)
    if manager.resume_if_exists and not manager.resume_ignore_no_checkpoint:
        return ResumeDecision(Origin.MISSING)
    return ResumeDecision(Origin.SCRATCH)


def of_run(found: Sequence[Candidate], job_uid: str, run_id: str) -> tuple[Candidate, ...]:
    """Those that a start may take up: of the run that the directory is of, else of this very job.

    `run_id` empty: an older release wrote the directory, and whatever is there may be taken.
    """
    if not run_id:
        return tuple(found)
    same = tuple(candidate for candidate in found if candidate.manifest.run_id == run_id)
    return same or tuple(candidate for candidate in found if job_uid and candidate.manifest.job_uid == job_uid)
