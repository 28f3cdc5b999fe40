"""Whether the processes hang: how long nothing new was reported, against a bound for what they are doing.

The launcher measures by its own monotonic clock and says so in its report. No clock of the operator's is in it, so
neither one that is set nor an operator that was away makes a hang out of a job that trains. A launcher that does not
answer is no hang either: silence is not known to be one.
"""

from dataclasses import dataclass
from typing import Final

from neuron_api.resource.progress import Progress, TrainerPhase
from neuron_api.resource.spec import HangPolicy
from neuron_api.resource.status import ProgressStatus

KNOWN_AFTER: Final = 5
"""Steps from which on the job's own pace is trusted: compilations fall into the first ones."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What the processes are doing, and how long they may say nothing new meanwhile."""

    doing: str
    seconds: float
    field: str
    """The field of spec.hangPolicy that sets it."""


def detect_hang(report: Progress | None, progress: ProgressStatus | None, policy: HangPolicy) -> str | None:
    """The sentence that tells of a hang; None: there is none to be seen."""
    if report is None or report.idle_seconds is None or not policy.enabled:
        return None
    bound = _bound(report, progress, policy)
    if bound is None or report.idle_seconds <= bound.seconds:
        return None
    return (
        f"{bound.doing} for {report.idle_seconds:.0f} s without anything new "
        f"(hangPolicy.{bound.field}: {bound.seconds:.0f} s)"
    )


def _bound(report: Progress, progress: ProgressStatus | None, policy: HangPolicy) -> Bound | None:
    match report.phase:
        case TrainerPhase.LOADING if report.compilation is not None and not report.compilation.complete:
            return Bound("compiling", policy.first_step_seconds, "firstStepSeconds")
        case TrainerPhase.LOADING:
            return Bound("loading", policy.load_seconds, "loadSeconds")
        case TrainerPhase.SAVING:
            return Bound("saving", policy.save_seconds, "saveSeconds")
        case TrainerPhase.VALIDATING:
            return Bound("validating", policy.validation_seconds, "validationSeconds")
        case TrainerPhase.TRAINING:
            return _step(progress, policy)
    return None  # Waiting for other pods, which has a bound of its own in the launcher, or over.


def _step(progress: ProgressStatus | None, policy: HangPolicy) -> Bound:
    pace = progress.seconds_per_step if progress and progress.measured_steps >= KNOWN_AFTER else None
    if pace is None:
        return Bound("in one of the first steps", policy.first_step_seconds, "firstStepSeconds")
    if policy.step_factor * pace < policy.min_step_seconds:
        return Bound("in a step", policy.min_step_seconds, "minStepSeconds")
    return Bound(f"in a step that takes {pace:.3g} s", policy.step_factor * pace, "stepFactor")
