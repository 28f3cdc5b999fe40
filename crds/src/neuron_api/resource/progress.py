"""The progress report that a pod's launcher serves at `GET /progress` and the operator reads.

A launcher that succeeds leaves its final report as the container's termination message, since it no longer serves one.
The reader is tolerant (it ignores unknown fields, for an older operator and a newer trainer), the writer is not.
Times are UTC, ISO 8601. Steps count optimizer steps; `step` is the number of finished ones.
"""

import re
from enum import StrEnum
from typing import Annotated, Final

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from neuron_api.contract import MAX_SPIKES, MAX_STRAGGLERS, TERMINATION_MESSAGE_LIMIT

from .wire_values import (
    MAX_LINE,
    Count,
    Decimal,
    ExitCode,
    Line,
    Measured,
    Message,
    Moment,
    Name,
    PathText,
    Seconds,
    StatusObject,
)

MAX_LOG_LINES: Final = 8
"""Lines of a failure that are reported before its message."""
"""Slow processes in a report; where there are more, the first ones."""
MAX_RESUME_LINES: Final = 64
"""Lines about a resume; a real one has about ten."""


class Wire(BaseModel):
    """camelCase on the wire, snake_case in Python, frozen."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore")


class TrainerPhase(StrEnum):
    """The phase of a pod's processes."""

    STARTING = "Starting"
    """The launcher checks configuration and inputs."""
    RENDEZVOUS = "Rendezvous"
    """Waiting for the other pods."""
    LOADING = "Loading"
    """Processes are up: building the model, loading the checkpoint, seeking in the data."""
    TRAINING = "Training"
    SAVING = "Saving"
    """A checkpoint is being written, a periodic one or the last."""
    VALIDATING = "Validating"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class CheckpointReport(Wire):
    """The newest complete checkpoint that this run wrote or resumed from."""

    step: Count
    path: PathText
    time: Moment
    """When it was complete."""
    verified: bool = False
    """Whether every file has been read back and compared with the manifest, as is done before each resume."""


class ProcessFailure(Wire):
    """The first failing process of one round in one pod."""

    time: Moment
    round: Count
    """Rendezvous round that ended with this failure, from 0."""
    rank: Count
    """Global rank."""
    local_rank: Count
    exit_code: ExitCode
    """Negative: ended by that signal, as Python reports it (-9: SIGKILL)."""
    step: Count | None = None
    """Last finished step when it failed, where known."""
    message: Message = ""
    """Last line of the traceback, or the signal's name."""
    lines: Annotated[tuple[Line, ...], AfterValidator(lambda lines: lines[-MAX_LOG_LINES:])] = ()
    """Last lines before that, oldest first (`last_lines`); without a traceback those of its standard error."""


class ResumeSource(StrEnum):
    """Where a start has taken the state from."""

    NONE = ""
    """No step was resumed, or an older trainer does not say."""
    STORAGE = "Storage"
    """A checkpoint."""
    MEMORY = "Memory"
    """The copies in the shared memory of the nodes."""
    PEER = "Peer"
    """The same, of which another node had some."""


class Recovery(Wire):
    """The cost of a start that resumed an earlier run."""

    round: Count
    resumed_from_step: Count
    steps_lost: Count
    """Finished steps that had to be repeated."""
    first_step_time: Moment | None = None
    """When the first step after the resume was finished; absent until then."""
    source: Name = ""
    """A `ResumeSource`; a later trainer may know more of them."""
    passed_over: Message = ""
    """Why newer checkpoints than the one resumed from were skipped; empty if it was the newest."""
    phases: dict[Name, Seconds] = Field(default_factory=dict, max_length=64)
    """Seconds of each phase of this start, to the first step (`neuron_trainer.ipc.phases`);
    empty until then."""


class PassReport(Wire):
    """A pass over the data before the first step: the reference log-probabilities of DPO."""

    done: Count
    """Samples that are computed, those of an interrupted pass included."""
    total: Count
    time: Moment
    """When the last of them were."""


class CompileReport(Wire):
    """The compile phase before the first step."""

    part: Name = ""
    """What is being compiled: `training step`, `validation`, `reference`; empty before, and while another run compiles
    the same."""
    done: Count = 0
    """Graphs that are there, compiled or taken from the cache."""
    expected: Count = 0
    """Graphs that are expected so far: those that were begun, or that an earlier compile phase had."""
    compiled: Count = 0
    """Those of `done` that were compiled now."""
    since: Moment
    """When the phase began."""
    time: Moment
    """When the newest graph was there."""
    complete: bool = False
    """Whether the phase is over."""
    holder: Message = ""
    """Who compiles the same, and is waited for; empty while nobody is."""


class SpikeReport(Wire):
    """A step whose loss or gradient norm is far above the usual."""

    step: Count
    quantity: Name
    """`loss` or `gradient norm`."""
    value: float = Field(allow_inf_nan=False)
    usual: float = Field(allow_inf_nan=False)
    """Median of the steps before."""
    first_sample: Count
    """Of those that the step has read, in the order of training."""
    last_sample: Count


class StragglerReport(Wire):
    """A process that is slower than those with the same work; the others wait for it in each step."""

    rank: Count
    node_rank: Count
    part: Name = ""
    """What takes longer: `work`, or `data`, the wait for the batch."""
    seconds: Seconds
    """Its own time of a step, without its waits for others; median."""
    usual_seconds: Seconds
    """That of the others."""
    ratio: Seconds
    """Its time over the others', median over steps."""
    steps: Count
    """That the evidence is from."""
    step: Count
    """The newest of them."""
    time: Moment
    """When it was found."""


class StragglerStatus(StatusObject):
    """A process that is slower than those with the same work; the others wait for it in each step."""

    rank: int
    """Its global rank."""
    pod: str = ""
    """Pod that it runs in."""
    node: str = ""
    """Node that the pod is on."""
    part: str = Field(default="", max_length=63)
    """What takes longer: work, or data (its waits for a batch)."""
    ratio: Decimal
    """Its time over the others', a decimal number; median over steps."""
    seconds: Decimal
    """Its own seconds of a step, without its waits for others; median."""
    usual_seconds: Decimal
    """Those of the others."""
    steps: int
    """Steps that the evidence is from."""
    step: int
    """The newest of them."""
    time: AwareDatetime
    """When it was found."""


class SpikeStatus(StatusObject):
    """A step whose loss or gradient norm was far above the usual."""

    step: int
    """The step."""
    quantity: str = Field(max_length=253)
    """What was unusual: loss, or gradient norm."""
    value: Decimal
    """What it was, a decimal number."""
    usual: Decimal
    """Median of the steps before."""
    first_sample: int
    """The first of the samples that the step had read, in the order of training; that of shuffled data is another."""
    last_sample: int
    """The last of them."""


class TimeReport(Wire):
    """Where the time of a launcher went (`neuron_api.timeline`), as far as that is certain."""

    since: Moment
    """When the launcher was started."""
    until: Moment
    """The moment up to which the seconds are counted."""
    seconds: dict[Name, Seconds] = Field(default_factory=dict, max_length=32)
    """By activity; they add up to the time from `since` to `until`."""
    activity: Name = ""
    """What has been done since then."""


class Progress(Wire):
    """The progress report of one pod."""

    job_uid: Name = ""
    attempt: Count = 0
    node_rank: Count = 0
    pod_uid: Name = ""
    phase: TrainerPhase = TrainerPhase.STARTING
    round: Count = 0
    step: Count = 0
    max_steps: Count | None = None
    loss: Measured = None
    learning_rate: Measured = None
    tokens_per_second: Measured = None
    mfu: Measured = None
    """Model FLOPs utilization, 0 to 1; absent where the peak of the device is unknown."""
    metrics: dict[Name, Measured] = Field(default_factory=dict, max_length=64)
    """Of the objective, by name (`neuron_api.metrics`)."""
    records: dict[Name, dict[Name, Count]] = Field(default_factory=dict, max_length=8)
    """By part of the data (`train`, `validation`), how many records there are, were truncated or dropped; empty for
    data that are no records. Reported by pod 0."""
    reference: PassReport | None = None
    """The phase meanwhile is Loading, which every reader knows; each report of it is news."""
    compilation: CompileReport | None = None
    """The phase meanwhile is Loading, which every reader knows; each graph is news."""
    last_step_time: Moment | None = None
    idle_seconds: Seconds | None = None
    """Seconds since the last news (phase, round, step, checkpoint, reference, compilation), by the launcher's
    monotonic clock; absent from trainers that do not measure it."""
    start_time: Moment | None = None
    log_dir: PathText = ""
    config_hash: Name = ""
    checkpoint: CheckpointReport | None = None
    resume: Annotated[tuple[Message, ...], AfterValidator(lambda lines: lines[:MAX_RESUME_LINES])] = ()
    """How the newest start resumed (`resumption.describe`), line by line; empty if nothing was resumed."""
    failures: tuple[ProcessFailure, ...] = Field(default=(), max_length=32)
    """Newest last; only this pod's own processes."""
    recoveries: tuple[Recovery, ...] = Field(default=(), max_length=32)
    """Newest last; reported by pod 0."""
    time_spent: TimeReport | None = None
    """Absent from trainers that do not measure it."""
    spikes: dict[Name, Count] = Field(default_factory=dict, max_length=8)
    """Unusual steps of this start, by what was far above the usual (`loss`, `gradient norm`); reported by pod 0."""
    newest_spikes: tuple[SpikeReport, ...] = Field(default=(), max_length=MAX_SPIKES)
    """Newest last; reported by pod 0."""
    stragglers: tuple[StragglerReport, ...] | None = Field(default=None, max_length=MAX_STRAGGLERS)
    """Processes that are slow now; reported by pod 0, absent where no two processes have the same work."""
    untracked: Count | None = None
    """Logged steps that a tracker (MLflow, Weights & Biases) did not take; absent without one."""


LINE_LENGTH: Final = MAX_LINE


def last_lines(text: str) -> tuple[str, ...]:
    """Return the last non-empty lines before the very last, which is the message: at most `MAX_LOG_LINES`, cut."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return tuple(line[:LINE_LENGTH] for line in lines[-MAX_LOG_LINES - 1 : -1])


def failure_headline(rank: int, step: int, message: str) -> str:
    """Return the first line of the termination message of a launcher that gives up."""
    return f"rank {rank} failed at step {step}: {message}"


def from_failure_headline(message: str) -> tuple[int, int] | None:
    """Return rank and step of such a message; None if it is something else."""
    match = _HEADLINE.match(message)
    return (int(match[1]), int(match[2])) if match else None


_HEADLINE: Final = re.compile(r"rank (\d{1,9}) failed at step (\d{1,12}): ")


def to_json(progress: Progress) -> str:
    """Return the report as JSON."""
    return progress.model_dump_json(by_alias=True, exclude_none=True)


def from_json(text: str | bytes) -> Progress:
    """Parse a report; raise `pydantic.ValidationError` for anything else."""
    return Progress.model_validate_json(text)


def final_report(progress: Progress) -> str:
    """Return the report as a termination message, with as many of the newest failures and recoveries as fit."""
    progress = progress.model_copy(update={"failures": tuple(_headline_only(failure) for failure in progress.failures)})
    for count in (8, 2, 0):
        if not count:
            progress = progress.model_copy(update={"resume": progress.resume[:1]})
        fewer = {"failures": progress.failures[-count:], "recoveries": progress.recoveries[-count:]} if count else {}
        text = to_json(progress.model_copy(update=fewer or {"failures": (), "recoveries": ()}))
        if len(text.encode()) <= TERMINATION_MESSAGE_LIMIT:
            return text
    return ""


def _headline_only(failure: ProcessFailure) -> ProcessFailure:
    return failure.model_copy(update={"lines": ()})


def from_final_report(message: str) -> Progress | None:
    """Return the report in a termination message; None if it has none (an older trainer, a user's own image)."""
    try:
        return from_json(message)
    except ValidationError:
        return None
