"""The account of the job's time in its status: moved forward whenever the status changes, from what a pass has seen.

Between two moments time is accounted by one of two witnesses. While pod 0 is up, its launcher, which knows what its
processes did. Otherwise the pods, the ledger and the decisions: each says from when on the job did something else
(`timeline.cut`). So the seconds add up to the time since the job was created, however late, often or wrongly anything
is reported.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from neuron_api import timeline
from neuron_api.resource.job import NeuronTrainingJob
from neuron_api.resource.progress import TimeReport
from neuron_api.resource.reasons import ConditionType, Reason
from neuron_api.resource.scheduling import GangScheduler
from neuron_api.resource.status import ConditionStatus, JobStatus, Restart
from neuron_api.resource.time_spent import TimeSpent
from neuron_api.timeline import Activity, Change
from neuron_operator.planning.observation.observation import Observed, Pod

_ACTIVITIES: Final = frozenset(Activity)
_TRAINING: Final = (Activity.STEP, Activity.REWORK, Activity.DATA)


def update(observed: Observed, after: JobStatus, now: datetime) -> JobStatus:
    """Return the status with the account up to now, or up to what pod 0 has reported. A status without news stays as it
    is: the account alone is no reason to write one."""
    before = observed.job.status
    if after == before or before.finished:
        return after
    spent = before.time_spent or _begin(observed.job, now)
    moved = _advance(_View(observed, after), spent, min(after.completion_time or now, now))
    return after.model_copy(update={"time_spent": moved.with_mark(spent)})


def _begin(job: NeuronTrainingJob, now: datetime) -> TimeSpent:
    """Return an empty account: from the job's creation on, or from now on of one that an earlier release has run."""
    created, is_new = job.metadata.creation_timestamp, job.status.start_time is None
    begin = min(created, now) if created and is_new else now
    return TimeSpent(start_time=_whole(begin), end_time=_whole(begin))


def _whole(moment: datetime) -> datetime:
    """Return the moment in whole milliseconds, as seconds are."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


@dataclass(frozen=True, slots=True)
class _View:
    """What a pass has seen, as the account asks for it."""

    observed: Observed
    after: JobStatus

    @property
    def pods(self) -> list[Pod]:
        """Return the pods of the attempt; nobody waits for those that stand by for a growth."""
        return [pod for pod in self.observed.pods if pod.attempt == self.after.attempt and not pod.is_standby]

    @property
    def host(self) -> Pod | None:
        """Return pod 0; one of an earlier attempt while it is still there."""
        hosts = [pod for pod in self.observed.pods if pod.index == 0 and not pod.is_standby]
        return max(hosts, key=lambda pod: pod.attempt, default=None)

    @property
    def report(self) -> TimeReport | None:
        """Return the account of the launcher of pod 0, where the report is surely its own."""
        report, host = self.observed.reports.get(0), self.host
        if report is None or host is None or report.pod_uid not in ("", host.uid):
            return None
        return report.time_spent if report.job_uid in ("", self.observed.job.metadata.uid) else None

    @property
    def is_reporting(self) -> bool:
        """Return whether a launcher is there that will account for this time itself."""
        return self.host is not None and self.host.running and not self.host.over

    @property
    def failure(self) -> Restart | None:
        """Return the newest line of the ledger that is about a failure."""
        lines = (line for line in reversed(self.after.restarts) if line.cause is not Reason.SUSPENDED)
        return next(lines, None)


def _advance(view: _View, spent: TimeSpent, now: datetime) -> TimeSpent:
    report, host = view.report, view.host
    if report is not None and host is not None:
        spent = _with_report(view, spent, report, host.uid, now)
    return spent if view.is_reporting else _without_launcher(view, spent, now)


# ---- by the launcher -------------------------------------------------------------------------------------------------


def _with_report(view: _View, spent: TimeSpent, report: TimeReport, uid: str, now: datetime) -> TimeSpent:
    """Add what the launcher has reported since the last look; before its begin pods and ledger say what was done."""
    end, reported, activity = _whole(min(report.until, now)), _by_activity(report.seconds), _activity(report.activity)
    if spent.pod_uid != uid:
        spent = _without_launcher(view, spent, min(report.since, end)).model_copy(
            update={"pod_uid": uid, "reported": {}}
        )
    length = (end - spent.end_time).total_seconds()
    if length <= 0:
        return spent
    added = timeline.difference(reported, spent.reported)
    parts = timeline.apportion(_with_waits(view, spent, added, end), length, activity)
    return spent.model_copy(
        update={
            "end_time": end,
            "seconds": timeline.add(spent.seconds, parts),
            "reported": reported,
            "activity": activity,
        }
    )


def _by_activity(seconds: Mapping[str, float]) -> dict[str, float]:
    """Return the seconds by the activities that there are: a pod may report any name, and the status must not grow."""
    return timeline.add(*({_activity(name): value} for name, value in seconds.items()))


def _activity(name: str) -> str:
    return str(name) if name in _ACTIVITIES else Activity.IDLE


def _with_waits(view: _View, spent: TimeSpent, added: Mapping[str, float], end: datetime) -> dict[str, float]:
    """Return the seconds, with what the others of the gang waited for in place of rendezvous with them: a pod was not
    there, or had no node, or no image."""
    rest, parts = added.get(Activity.RENDEZVOUS, 0.0), dict(added)
    if not rest:
        return parts
    others = [pod for pod in view.pods if pod.index and not pod.over]
    begin = spent.end_time.timestamp()
    missing = [Change(begin, Activity.IDLE)] if _latest(pod.created_at for pod in others) > begin else []
    changes = [*missing, *_pod_changes(view, others, Activity.RENDEZVOUS)]
    waits = timeline.total(timeline.cut(begin, end.timestamp(), Activity.RENDEZVOUS, changes))
    for activity in (Activity.QUEUE, Activity.PLACEMENT, Activity.IMAGE, Activity.IDLE):
        moved = min(rest, waits.get(activity, 0.0))
        rest -= moved
        parts[activity] = parts.get(activity, 0.0) + moved
    return {**parts, Activity.RENDEZVOUS: rest}


# ---- by pods, ledger and decisions -----------------------------------------------------------------------------------


def _without_launcher(view: _View, spent: TimeSpent, end: datetime) -> TimeSpent:
    """Account for a time in which no launcher of pod 0 could."""
    if (end := _whole(end)) <= spent.end_time:
        return spent
    hosts = [pod for pod in view.pods if not pod.index and not pod.over]
    changes = [*_failure_changes(view, spent), *_decision_changes(view), *_pod_changes(view, hosts, Activity.START)]
    stretches = timeline.cut(spent.end_time.timestamp(), end.timestamp(), spent.activity, changes)
    return spent.model_copy(
        update={
            "end_time": end,
            "seconds": timeline.add(spent.seconds, timeline.total(stretches)),
            "activity": stretches[-1].longest if stretches else spent.activity,
        }
    )


def _failure_changes(view: _View, spent: TimeSpent) -> Iterator[Change]:
    """Yield what became of a launcher that did not report its end: the step that was cut off, or a hang; after that
    nothing is done until somebody acts."""
    failure, begin = view.failure, spent.end_time.timestamp()
    ended = _end_of_host(view, begin)
    if failure is None or failure.time < spent.end_time:
        if spent.activity in _TRAINING and view.after.suspension is None and (view.host is None or ended is not None):
            yield Change(begin if ended is None else ended, Activity.IDLE)
        return
    # The line says when the operator saw the failure, and it may have been away for hours.
    time = min(failure.time.timestamp(), failure.time.timestamp() if ended is None else ended)
    if failure.cause is Reason.HANG:
        yield Change(begin, Activity.HANG)
    elif spent.activity in _TRAINING:
        pace = view.after.progress.seconds_per_step if view.after.progress else None
        yield Change(max(begin, time - (pace or 0.0)), Activity.REWORK)
    yield Change(time, Activity.IDLE)


def _end_of_host(view: _View, begin: float) -> float | None:
    """Return when pod 0 ended, not before `begin`, since the kubelet's times are whole seconds; None: it has not, or
    nobody knows."""
    host = view.host
    if host is None or not host.over or host.finished_at is None:
        return None
    return max(begin, host.finished_at.timestamp())


def _decision_changes(view: _View) -> Iterator[Change]:
    before, after = view.observed.job.status, view.after
    suspension = after.suspension or before.suspension
    if suspension is not None and suspension.stop_time is not None:
        yield Change(suspension.stop_time.timestamp(), Activity.SUSPENDED)
    if after.checkpoint_gate is not None:
        yield Change(after.checkpoint_gate.time.timestamp(), Activity.IDLE)


def _pod_changes(view: _View, pods: Sequence[Pod], last: str) -> Iterator[Change]:
    """Yield from when on pods waited for their queue, nodes and images, the newest of them; `last`: what follows."""
    if not pods:
        return
    created = _latest(pod.created_at for pod in pods)
    has_queue = view.observed.job.spec.scheduling.gang is not GangScheduler.NONE
    yield Change(created, Activity.QUEUE if has_queue else Activity.PLACEMENT)
    if has_queue and (admitted := _admission_time(view.after)) is not None:
        yield Change(max(admitted, created), Activity.PLACEMENT)
    if all(pod.scheduled_at is not None for pod in pods):
        yield Change(_latest(pod.scheduled_at for pod in pods), Activity.IMAGE)
        if all(pod.started_at is not None for pod in pods):
            yield Change(_latest(pod.started_at for pod in pods), last)


def _latest(moments: Iterable[datetime | None]) -> float:
    return max((moment.timestamp() for moment in moments if moment is not None), default=0.0)


def _admission_time(status: JobStatus) -> float | None:
    """Return when the queue or the gang scheduler let the pods go."""
    conditions = (condition for condition in status.conditions if condition.type is ConditionType.ADMITTED)
    admitted = next(conditions, None)
    is_admitted = admitted is not None and admitted.status is ConditionStatus.TRUE
    return admitted.last_transition_time.timestamp() if admitted is not None and is_admitted else None
