"""Where the time of a job went: one timeline, cut into stretches, each with the seconds of what was done in it.

A moment belongs to one activity, a stretch begins where the one before it ends, and the seconds of a stretch add up to
its length. So the seconds of a job add up to its wall time whatever happened, and in whichever order it was reported:
`cut` and `apportion` cannot do otherwise. All is in whole milliseconds, so that sums are exact.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


class Activity(StrEnum):
    """What a job is doing; each moment has one."""

    QUEUE = "queue"
    """The queue has not admitted the job."""
    PLACEMENT = "placement"
    """A pod has no node yet."""
    IMAGE = "image"
    """A pod has its node, and its container has not started: image, volumes, network."""
    START = "start"
    """The launcher checks configuration and inputs, chooses a checkpoint, and starts or stops processes."""
    RENDEZVOUS = "rendezvous"
    """Processes wait for each other, and form their groups."""
    LOAD = "load"
    """Model, checkpoint, reference and data are brought into place."""
    COMPILE = "compile"
    """Graphs are compiled: the compile phase, and steps that had to compile."""
    DATA = "data"
    """The step waits for its batch."""
    STEP = "step"
    """Optimizer steps that were done for the first time."""
    VALIDATION = "validation"
    SAVE = "save"
    """Training waits for a checkpoint; what is written beside training costs nothing here."""
    REWORK = "rework"
    """Steps that had been finished before, and the part of a step that a failure cut off."""
    HANG = "hang"
    """Processes stood still until that was noticed."""
    IDLE = "idle"
    """Nothing of the above: a failure not noticed yet, pods that end, a back-off, a decision that is awaited; without
    Kubernetes the time between two starts."""
    SUSPENDED = "suspended"


_ORDER: Final = {activity.value: place for place, activity in enumerate(Activity)}
USEFUL: Final = (Activity.STEP,)
"""What the job is there for."""

Seconds = Mapping[str, float]
"""By activity. Names of another release stay as they are."""


@dataclass(frozen=True, slots=True)
class Change:
    """From this moment on the job did something else."""

    time: float
    """Unix time."""
    activity: str


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of the timeline. One with several activities is a summary: steps, and their waits for data."""

    begin: float
    """Unix time."""
    end: float
    seconds: Seconds = field(default_factory=dict)
    """They add up to `end - begin`."""
    step: int = 0
    """Last finished step at its end."""

    @property
    def length(self) -> float:
        """Return the seconds from begin to end."""
        return rounded(self.end - self.begin)

    @property
    def longest(self) -> str:
        """Return the activity that most of it went into."""
        return max(self.seconds, key=lambda name: self.seconds[name], default=Activity.IDLE)


def rounded(seconds: float) -> float:
    """Return whole milliseconds."""
    return round(seconds, 3)


def cut(begin: float, end: float, activity: str, changes: Iterable[Change]) -> list[Stretch]:
    """Return the stretches from `begin` to `end`: `activity`, until a change says something else.

    Changes may come in any order. One before the begin counts from the begin on, one after the end not at all.
    """
    begin, end = rounded(begin), rounded(end)
    stretches: list[Stretch] = []
    for change in sorted(changes, key=lambda change: change.time):
        time = rounded(change.time)
        if time >= end:
            break
        if time > begin and change.activity != activity:
            stretches.append(_stretch(begin, time, activity))
            begin = time
        activity = change.activity
    return [*stretches, _stretch(begin, end, activity)] if end > begin else stretches


def _stretch(begin: float, end: float, activity: str) -> Stretch:
    return Stretch(begin, end, {activity: rounded(end - begin)})


def apportion(seconds: Seconds, length: float, otherwise: str = Activity.IDLE) -> dict[str, float]:
    """Return the seconds, scaled so that they add up to the length; all of it is `otherwise` where there are none."""
    positive = {name: value for name, value in seconds.items() if value > 0}
    total, thousandths = sum(positive.values()), max(0, round(length * 1000))
    if not total:
        return {otherwise: thousandths / 1000} if thousandths else {}
    parts = {name: round(value / total * thousandths) for name, value in positive.items()}
    largest = max(parts, key=lambda name: parts[name])
    parts[largest] += thousandths - sum(parts.values())
    return {name: part / 1000 for name, part in parts.items() if part}


def add(*parts: Seconds) -> dict[str, float]:
    """Return the sums, in the order of `Activity`; names of another release come last."""
    sums: dict[str, int] = {}
    for part in parts:
        for name, value in part.items():
            sums[name] = sums.get(name, 0) + round(value * 1000)
    ordered = sorted(sums, key=lambda name: (_ORDER.get(name, len(_ORDER)), name))
    return {name: sums[name] / 1000 for name in ordered if sums[name]}


def difference(after: Seconds, before: Seconds) -> dict[str, float]:
    """Return what has been added; an activity cannot have become less."""
    return add({name: max(0.0, value - before.get(name, 0.0)) for name, value in after.items()})


def total(stretches: Iterable[Stretch]) -> dict[str, float]:
    """Return the seconds of all stretches by activity."""
    return add(*(stretch.seconds for stretch in stretches))


def join(records: Iterable[Stretch], gap: str = Activity.IDLE) -> list[Stretch]:
    """Return records as one timeline, in their order: a record takes the place of what those before it say of the time
    from its begin on, and what no record speaks of is `gap`."""
    line: list[Stretch] = []
    for record in records:
        if record.end <= record.begin:
            continue
        while line and line[-1].begin >= record.begin:
            line.pop()
        if line and line[-1].end > record.begin:
            line[-1] = shortened(line[-1], record.begin)
        if line and line[-1].end < record.begin:
            line.append(_stretch(line[-1].end, record.begin, gap))
        line.append(record)
    return line


def shortened(stretch: Stretch, end: float) -> Stretch:
    """Return the part of a stretch before a moment; its activities keep their shares."""
    return Stretch(stretch.begin, end, apportion(stretch.seconds, end - stretch.begin), stretch.step)


def shares(seconds: Seconds) -> Iterator[tuple[str, float]]:
    """Yield activities with their share of the whole, largest first."""
    whole = sum(seconds.values())
    for name in sorted(seconds, key=lambda name: -seconds[name]):
        if whole > 0 and seconds[name] > 0:
            yield name, seconds[name] / whole


def largest_loss(seconds: Seconds, ignored: Sequence[str] = (Activity.SUSPENDED,)) -> str | None:
    """Return the activity that took most of what did not go into steps; None: nothing was lost."""
    lost = {name: value for name, value in seconds.items() if name not in (*USEFUL, *ignored) and value > 0}
    return max(lost, key=lambda name: lost[name], default=None)


REMEDIES: Final[Mapping[str, str]] = {
    Activity.QUEUE: "Ask for fewer nodes, or for a larger quota of the queue.",
    Activity.PLACEMENT: "Ask for nodes that there are, or let the cluster add them sooner.",
    Activity.IMAGE: "Pull the image before the job starts, or use a smaller one.",
    Activity.START: "Put configuration, data and log directory on a faster volume; `neuron-train doctor` measures it.",
    Activity.RENDEZVOUS: "Find the pod that comes last: its events say what it waits for.",
    Activity.LOAD: "Put checkpoints and data on a faster volume.",
    Activity.COMPILE: "Set compiler_cache_url to a directory that all starts share.",
    Activity.DATA: "Raise data.num_workers, or put the data on a faster volume.",
    Activity.VALIDATION: "Validate less often (trainer.val_check_interval) or on fewer batches "
    "(trainer.limit_val_batches).",
    Activity.SAVE: "Set exp_manager.async_checkpointing, or save less often (every_n_train_steps).",
    Activity.REWORK: "Save more often (every_n_train_steps): a failure then repeats fewer steps.",
    Activity.HANG: "Set hangPolicy shorter: a step that stands still is ended sooner.",
    Activity.IDLE: "Look at the ledger: restarts, back-offs and decisions that were awaited.",
}
"""How the time of an activity can be had back."""
