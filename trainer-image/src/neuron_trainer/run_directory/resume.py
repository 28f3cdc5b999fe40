"""What a start resumes from: the decision table of B-11, pure."""

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
    EXPLICIT = "given"
    """`resume_from_checkpoint`."""
    WEIGHTS = "weights"
    """`resume_from_checkpoint` with `weight_init_only`: step 0, fresh optimizer."""
    SCRATCH = "scratch"
    MISSING = "missing"
    """A checkpoint is required and there is none: exit code 2."""
    LOST = "lost"
    """Steps were finished and no checkpoint has them: exit code 3."""


@dataclass(frozen=True, slots=True)
class ResumeDecision:
    """Candidates to try in order; when one turns out to be damaged the next is taken."""

    origin: Origin
    candidates: tuple[Candidate, ...] = ()


@dataclass(frozen=True, slots=True)
class EarlierRuns:
    """What was done before this start, as far as anybody knows."""

    step: int = 0
    """The highest finished step."""
    saved: bool = False
    """Whether a checkpoint was ever complete."""
    from_scratch: FromScratch = FromScratch.BEFORE_FIRST_CHECKPOINT
    """`spec.restartPolicy.fromScratch`. Without an operator: a run may begin again until it has saved; the spec's own
    default is Never."""

    @property
    def may_begin_again(self) -> bool:
        """Return whether this start may be at step 0."""
        return self.from_scratch.allows(finished_steps=self.step, has_checkpoint=self.saved)


@dataclass(frozen=True, slots=True)
class ResumeChoice:
    """What the next round resumes from."""

    checkpoint: str | None = None
    """Its directory; None: nothing."""
    weights_only: bool = False
    skipped: str = ""
    """What is wrong with newer checkpoints."""
    text: tuple[str, ...] = ()
    """How its configuration differs from the file's (`neuron_api.resumption`)."""
    run_id: str = ""
    """The run of the log directory."""
    loss: str = ""
    """Why storage does not allow this start, where memory may have the steps that it lacks."""


def decide(
    config: TrainingConfig,
    candidates: Sequence[Candidate],
    find_explicit: Callable[[], Candidate | None],
    job_uid: str,
    earlier: EarlierRuns,
    run_id: str = "",
) -> ResumeDecision:
    """Apply the table of B-11, and the gate over it: a start at step 0 is LOST unless that is allowed.

    Args:
        candidates: Complete checkpoints of the log directory, newest first.
        find_explicit: Returns `resume_from_checkpoint`, where it is set.
        run_id: The run of the log directory.
    """
    decision = _decide(config, candidates_of_run(candidates, job_uid, run_id), find_explicit, job_uid)
    at_zero = decision.origin in (Origin.SCRATCH, Origin.WEIGHTS, Origin.MISSING)
    return ResumeDecision(Origin.LOST) if at_zero and not earlier.may_begin_again else decision


def _decide(
    config: TrainingConfig,
    candidates: Sequence[Candidate],
    find_explicit: Callable[[], Candidate | None],
    job_uid: str,
) -> ResumeDecision:
    """Apply the table alone.

    The explicit checkpoint is looked for only when it is needed: once a run has checkpoints of its own, it may be gone.
    A job's own checkpoint beats `resume_from_checkpoint` (A9): otherwise every restart would begin again.
    """
    manager = config.exp_manager
    own = tuple(candidate for candidate in candidates if candidate.manifest.job_uid == job_uid)
    foreign = tuple(candidate for candidate in candidates if candidate.manifest.job_uid != job_uid)
    if own and manager.resume_if_exists:
        return ResumeDecision(Origin.OWN, own)
    if (explicit := find_explicit()) is not None:
        return ResumeDecision(Origin.WEIGHTS if config.model.weight_init_only else Origin.EXPLICIT, (explicit,))
    if foreign and manager.resume_if_exists:
        return ResumeDecision(Origin.FOREIGN, foreign)
    if manager.resume_if_exists and not manager.resume_ignore_no_checkpoint:
        return ResumeDecision(Origin.MISSING)
    return ResumeDecision(Origin.SCRATCH)


def candidates_of_run(candidates: Sequence[Candidate], job_uid: str, run_id: str) -> tuple[Candidate, ...]:
    """Return those that a start may resume from: of the log directory's run, else of this very job.

    `run_id` empty: an older release wrote the directory, and all of them may be taken.
    """
    if not run_id:
        return tuple(candidates)
    same = tuple(candidate for candidate in candidates if candidate.manifest.run_id == run_id)
    return same or tuple(candidate for candidate in candidates if job_uid and candidate.manifest.job_uid == job_uid)
