"""What people look at of a job: the data behind `kubectl neuron … -o json` and the pages of the dashboard.

Worked out from the resource (or, without Kubernetes, from the files of a run) by whoever shows it; never stored.
Numbers are numbers here, not the decimal strings of the API. Fields are only ever added.
"""

from pydantic import AwareDatetime

from .wire_values import ApiObject


class JobSummary(ApiObject):
    """One job in a list."""

    namespace: str = ""
    """Empty for a run without Kubernetes."""
    name: str
    uid: str = ""
    phase: str
    reason: str = ""
    """Of the headline: the one of Ready, Reconciling and Stalled that is True."""
    message: str = ""
    step: int = 0
    max_steps: int | None = None
    loss: float | None = None
    steps_per_second: float | None = None
    """Absent while the job does not train, like the next two."""
    tokens_per_second: float | None = None
    mfu: float | None = None
    """Model FLOPs utilization, 0 to 1."""
    goodput: float | None = None
    """0 to 1."""
    remaining_seconds: float | None = None
    estimated_completion_time: AwareDatetime | None = None
    ready_nodes: int | None = None
    nodes: int | None = None
    devices: int = 0
    """Neuron devices of all nodes."""
    restarts: int = 0
    steps_lost: int = 0
    creation_time: AwareDatetime | None = None
    start_time: AwareDatetime | None = None
    completion_time: AwareDatetime | None = None
    last_step_time: AwareDatetime | None = None
    is_suspended: bool = False
    """What spec.suspend asks for."""
    is_finished: bool = False


class ConditionView(ApiObject):
    """One condition that says something, with what to do about it."""

    type: str
    status: str
    reason: str
    message: str = ""
    remedy: str = ""
    time: AwareDatetime | None = None


class RestartView(ApiObject):
    """One line of the ledger."""

    number: int
    """As `kubectl neuron logs --restart` takes it."""
    scope: str
    cause: str
    sentence: str
    remedy: str = ""
    time: AwareDatetime
    step: int | None = None
    resumed_from_step: int | None = None
    steps_lost: int | None = None
    recovery_seconds: float | None = None
    recovered_time: AwareDatetime | None = None


class PodView(ApiObject):
    """One pod and its node."""

    name: str
    index: int = 0
    node: str = ""
    state: str
    """One word or sentence: Ready, Running, Pending and why, exit code."""
    is_ready: bool = False


class EventView(ApiObject):
    """One Kubernetes Event."""

    time: AwareDatetime
    is_warning: bool = False
    subject: str = ""
    reason: str = ""
    note: str = ""
    count: int = 1


class CheckpointView(ApiObject):
    """One checkpoint."""

    step: int
    path: str = ""
    time: AwareDatetime | None = None
    is_verified: bool = False
    used_by: tuple[int, ...] = ()
    """Numbers of the restarts that resumed from it."""


class TimeShare(ApiObject):
    """A part of the time since the start."""

    label: str
    seconds: float


class Fact(ApiObject):
    """A row of a table: what, and its value."""

    label: str
    value: str


class JobDetail(JobSummary):
    """All of one job at one moment."""

    explanation: str = ""
    """The sentence of `kubectl neuron why`."""
    remedy: str = ""
    evidence: tuple[str, ...] = ()
    conditions: tuple[ConditionView, ...] = ()
    ledger: tuple[RestartView, ...] = ()
    """Oldest first."""
    pods: tuple[PodView, ...] = ()
    excluded_nodes: tuple[str, ...] = ()
    """Nodes that new pods avoid, each with the reason."""
    unusual_steps: tuple[str, ...] = ()
    """Loss or gradient norm far above the usual; newest last."""
    stragglers: tuple[str, ...] = ()
    """Processes that are slow, each with its node and the evidence."""
    events: tuple[EventView, ...] = ()
    """Newest last."""
    checkpoints: tuple[CheckpointView, ...] = ()
    """Newest first."""
    restart_cost: str = ""
    """What a failure now would cost."""
    resume: tuple[str, ...] = ()
    time_shares: tuple[TimeShare, ...] = ()
    facts: tuple[Fact, ...] = ()
    """The plan: what the configuration asks for."""
    unread: tuple[str, ...] = ()
    """What this user may not read."""


class Curve(ApiObject):
    """One number over the steps."""

    label: str
    values: tuple[float | None, ...]
    """One for each of `Curves.steps`; null where the step has none."""
    has_zero: bool = True
    """Whether the axis begins at 0: amounts do, a loss has no meaningful zero."""


class Point(ApiObject):
    """A validation's loss."""

    step: int
    value: float | None


class StartView(ApiObject):
    """A start of the run: it went on from `step`."""

    step: int
    steps_lost: int = 0
    time: float = 0.0
    """Unix time."""


class Curves(ApiObject):
    """What became of a run, step by step."""

    origin: str = ""
    """Where the numbers come from, a sentence."""
    steps: tuple[int, ...] = ()
    logged: int = 0
    """How many steps were logged; more than `steps` where those were thinned out."""
    curves: tuple[Curve, ...] = ()
    validations: tuple[Point, ...] = ()
    starts: tuple[StartView, ...] = ()
    """The first one begins the run."""
