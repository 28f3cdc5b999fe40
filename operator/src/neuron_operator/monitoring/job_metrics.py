"""The jobs as Prometheus sees them: read from their statuses when it scrapes, gone when they are gone.

Nothing is derived that PromQL can derive: the age of a checkpoint is `time()` less its time. Labels are named
`training_namespace` and `training_job`, because Prometheus gives every target labels `namespace` and `job` of its own
and would rename ours.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from neuron_api.metrics import PREFERENCE_METRICS
from neuron_api.resource.job import NeuronTrainingJob
from neuron_api.resource.reasons import ConditionType
from neuron_api.resource.spec import RestartPolicy
from neuron_api.resource.status import Condition, ConditionStatus, JobStatus
from neuron_api.timeline import Activity
from neuron_operator.planning.restarts import budget

Value = Callable[[JobStatus], float | None]
Table = Mapping[str, tuple[str, Value]]


def _metric(name: str) -> Value:
    """Return what reads a number of the objective."""
    return lambda status: status.progress.metrics.get(name) if status.progress else None


LABELS: Final = ("training_namespace", "training_job")
"""Of every metric of a job."""
_HEADLINE: Final = (ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED)

GAUGES: Final[Table] = {
    "neuron_training_step": (
        "Finished optimizer steps.",
        lambda status: status.progress.step if status.progress else None,
    ),
    "neuron_training_max_steps": (
        "Step at which training ends.",
        lambda status: status.progress.max_steps if status.progress else None,
    ),
    "neuron_training_last_step_timestamp_seconds": (
        "When the last step was finished, Unix time.",
        lambda status: _unix(status.progress.last_step_time if status.progress else None),
    ),
    "neuron_training_loss": (
        "Loss of the last finished step.",
        lambda status: status.progress.loss if status.progress else None,
    ),
    "neuron_training_tokens_per_second": (
        "Throughput of the job.",
        lambda status: status.progress.tokens_per_second if status.progress else None,
    ),
    "neuron_training_mfu_ratio": (
        "Model FLOPs utilization, 0 to 1; absent where the peak of the devices is unknown.",
        lambda status: status.progress.mfu if status.progress else None,
    ),
    **{f"neuron_training_{metric.name}": (metric.text, _metric(metric.name)) for metric in PREFERENCE_METRICS},
    "neuron_training_checkpoint_step": (
        "Step of the newest complete checkpoint.",
        lambda status: status.checkpoint.step if status.checkpoint else None,
    ),
    "neuron_training_checkpoint_timestamp_seconds": (
        "When the newest complete checkpoint was complete, Unix time.",
        lambda status: _unix(status.checkpoint.time if status.checkpoint else None),
    ),
    "neuron_training_start_timestamp_seconds": (
        "When the job was started, Unix time.",
        lambda status: _unix(status.start_time),
    ),
    "neuron_training_goodput_ratio": (
        "Share of the time since the start, without suspensions, that went into steps which were kept.",
        lambda status: status.goodput,
    ),
    "neuron_training_estimated_completion_timestamp_seconds": (
        "When the last step will be finished at the present pace, Unix time.",
        lambda status: _unix(status.progress.estimated_completion_time if status.progress else None),
    ),
    "neuron_training_nodes": (
        "Pods that the job needs, one per node.",
        lambda status: status.topology.nodes if status.topology else None,
    ),
    "neuron_training_nodes_ready": (
        "Pods that are ready.",
        lambda status: sum(pod.ready for pod in status.pods) if status.topology else None,
    ),
    "neuron_training_stragglers": (
        "Processes that are slower than those with the same work now; the others wait for them in each step.",
        lambda status: len(status.stragglers) if status.topology else None,
    ),
}
"""Name, help, and value; None: the job has none."""

COUNTERS: Final[Table] = {
    "neuron_training_restarts": (
        "Restarts of every scope since the job began.",
        lambda status: status.restart_count,
    ),
    "neuron_training_steps_lost": (
        "Finished steps that had to be done again since the job began.",
        lambda status: status.steps_lost,
    ),
}
"""Out of the status, so they neither begin at 0 with a new leader nor miss a job's first restart."""


class JobMetrics(Collector):
    """The jobs that this operator has looked at."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._jobs: dict[tuple[str, str], tuple[JobStatus, RestartPolicy]] = {}

    def last(self, namespace: str, name: str) -> JobStatus | None:
        """The status of a job as `see` had it last."""
        entry = self._jobs.get((namespace, name))
        return entry[0] if entry else None

    def see(self, job: NeuronTrainingJob, status: JobStatus) -> None:
        """Export this status of the job from now on."""
        self._jobs[job.metadata.namespace, job.metadata.name] = (status, job.spec.restart_policy)

    def forget(self, namespace: str, name: str) -> bool:
        """Export the job no more; whether it was known."""
        return self._jobs.pop((namespace, name), None) is not None

    def collect(self) -> Iterator[Metric]:
        """See `Collector`."""
        yield self._states()
        yield from self._budgets()
        yield from self._families(GAUGES, GaugeMetricFamily)
        yield from self._families(COUNTERS, CounterMetricFamily)
        yield self._time()

    def _families(
        self, table: Table, family_of: type[GaugeMetricFamily] | type[CounterMetricFamily]
    ) -> Iterator[Metric]:
        for name, (meaning, value) in table.items():
            family = family_of(name, meaning, labels=LABELS)
            for key, (status, _) in self._jobs.items():
                if (number := value(status)) is not None:
                    family.add_metric(key, number)
            yield family

    def _states(self) -> Metric:
        """One series a job, by which alerts and panels name it."""
        state = GaugeMetricFamily(
            "neuron_training_job_state",
            "1: phase, condition (the one of Ready, Reconciling and Stalled that is True) and reason of the job.",
            labels=(*LABELS, "phase", "condition", "reason"),
        )
        for key, (status, _) in self._jobs.items():
            headline = _headline(status)
            condition = (headline.type, headline.reason) if headline else ("", "")
            state.add_metric((*key, status.phase, *condition), 1)
        return state

    def _time(self) -> Metric:
        """Return the seconds by activity as far as they are certain; so no series ever falls."""
        time = CounterMetricFamily(
            "neuron_training_time_seconds",
            "Seconds since the job was created, by what it did; they add up to its age.",
            labels=(*LABELS, "activity"),
        )
        for key, (status, _) in self._jobs.items():
            # All from the first look on: rate() does not see the first value of a series.
            spent = status.time_spent.seconds if status.time_spent else {}
            for activity in Activity:
                time.add_metric((*key, activity), spent.get(activity, 0.0))
        return time

    def _budgets(self) -> Iterator[Metric]:
        used = GaugeMetricFamily(
            "neuron_training_restart_budget_used",
            "Failures that count against restartPolicy.maxGangRestarts now.",
            labels=LABELS,
        )
        limit = GaugeMetricFamily(
            "neuron_training_restart_budget_limit", "restartPolicy.maxGangRestarts.", labels=LABELS
        )
        now = self._clock()
        for key, (status, policy) in self._jobs.items():
            used.add_metric(key, budget.used(status, policy, now))
            limit.add_metric(key, policy.max_gang_restarts)
        yield from (used, limit)


def _headline(status: JobStatus) -> Condition | None:
    true = (condition for condition in status.conditions if condition.status is ConditionStatus.TRUE)
    return next((condition for condition in true if condition.type in _HEADLINE), None)


def _unix(time: datetime | None) -> float | None:
    return time.timestamp() if time is not None else None
