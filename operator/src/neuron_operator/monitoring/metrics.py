"""What Prometheus reads at /metrics: the operator's own work, and what became of jobs; `job_metrics`: how they are."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from neuron_api.resource.job import NeuronTrainingJob
from neuron_api.resource.status import JobStatus, Restart
from neuron_operator.failure_rules import FailureRules

from .job_metrics import LABELS, JobMetrics

_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_WAITS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_RECOVERIES = (1, 3, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)
"""Seconds: a killed process is to be back in 3, a lost pod in 15; a large model loads for minutes."""
RESULTS = ("success", "error", "bug")
"""How a reconcile ends. Each begins at 0: `increase()` does not see the first one of a series that begins with it."""


class Metrics:
    """One registry; also the controller's `JobObserver`."""

    def __init__(
        self,
        queue_length: Callable[[], int] = lambda: 0,
        is_leader: Callable[[], bool] = lambda: True,
        watch_age: Callable[[], float | None] = lambda: None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        lease: tuple[str, str] = ("", ""),
    ) -> None:
        self.registry = CollectorRegistry()
        self._clock, self._jobs = clock, JobMetrics(clock)
        counter, histogram = partial(Counter, registry=self.registry), partial(Histogram, registry=self.registry)
        by_cause = [*LABELS, "restart_scope", "cause"]
        self._requests = counter(
            "neuron_operator_api_requests", "Requests to the API server.", ["verb", "resource", "code"]
        )
        self._reconciles = histogram(
            "neuron_operator_reconcile_duration_seconds", "Duration of a reconcile.", ["result"], buckets=_BUCKETS
        )
        for result in RESULTS:
            self._reconciles.labels(result)
        self._placed = histogram(
            "neuron_operator_pod_creation_duration_seconds",
            "From a job's creation until all its pods have been created.",
            buckets=_WAITS,
        )
        self._recoveries = histogram(
            "neuron_training_recovery_duration_seconds",
            "From a failure to the first step after it.",
            [*LABELS, "restart_scope"],
            buckets=_RECOVERIES,
        )
        self._refused = counter(
            "neuron_operator_refused_status_writes",
            "Statuses that the API server did not store whole: the CRD is of another release.",
        )
        self._lost = counter(
            "neuron_training_steps_lost_by_cause",
            "Finished steps that had to be done again, by cause of the restart.",
            by_cause,
        )
        self._restarts = counter("neuron_training_restarts_by_cause", "Restarts, by scope and cause.", by_cause)
        self.registry.register(_Process(queue_length, is_leader, watch_age, lease))
        self.registry.register(self._jobs)

    def count_request(self, verb: str, resource: str, code: str) -> None:
        """Count a request of the gateway."""
        self._requests.labels(verb, resource, code).inc()

    def observe_pass(self, result: str, seconds: float) -> None:
        """Observe a pass of the queue."""
        self._reconciles.labels(result).observe(seconds)

    def job_changed(self, job: NeuronTrainingJob, after: JobStatus) -> None:
        """See `controller.JobObserver`; the first sight of a job counts none of its old restarts.

        A status that could not be written is told again by the next pass: what was told last is what counts.
        """
        namespace, name = job.metadata.namespace, job.metadata.name
        exported = self._jobs.last(namespace, name)
        before = exported or job.status
        if exported:
            for entry in after.restarts[len(after.restarts) - (after.restart_count - before.restart_count) :]:
                self._restarts.labels(namespace, name, entry.restart_scope, entry.cause).inc()
            for entry in _recovered(before, after):
                self._recoveries.labels(namespace, name, entry.restart_scope).observe(entry.recovery_seconds or 0.0)
                self._lost.labels(namespace, name, entry.restart_scope, entry.cause).inc(entry.steps_lost or 0)
        if _is_complete(after) and not _is_complete(before) and after.attempt == 0 and job.metadata.creation_timestamp:
            # The API server writes whole seconds.
            waited = (self._clock() - job.metadata.creation_timestamp).total_seconds()
            self._placed.observe(max(0.0, waited))
        self._jobs.see(job, after)

    def status_refused(self) -> None:
        """See `controller.JobObserver`."""
        self._refused.inc()

    def job_gone(self, namespace: str, name: str) -> None:
        """See `controller.JobObserver`."""
        if self._jobs.forget(namespace, name):
            for series in (self._restarts, self._lost, self._recoveries):
                series.remove_by_labels(dict(zip(LABELS, (namespace, name), strict=True)))


def _recovered(before: JobStatus, after: JobStatus) -> Iterator[Restart]:
    """Lines that have been closed."""
    closed = {_identity(entry) for entry in before.restarts if entry.recovered_time}
    return (entry for entry in after.restarts if entry.recovered_time and _identity(entry) not in closed)


def _identity(entry: Restart) -> tuple[object, ...]:
    return entry.restart_scope, entry.attempt, entry.pod_uid, entry.round, entry.time


def _is_complete(status: JobStatus) -> bool:
    """Return whether every pod has been created."""
    return status.topology is not None and len(status.pods) == status.topology.nodes


class _Process(Collector):
    """This process, at scrape time."""

    def __init__(
        self,
        queue_length: Callable[[], int],
        is_leader: Callable[[], bool],
        watch_age: Callable[[], float | None],
        lease: tuple[str, str],
    ) -> None:
        self._queue_length, self._is_leader, self._watch_age = queue_length, is_leader, watch_age
        self._lease = lease

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("neuron_operator_queue_depth", "Jobs that wait for a reconcile.", self._queue_length())
        leader = GaugeMetricFamily(
            "neuron_operator_is_leader", "1 where this pod holds the Lease.", labels=["lease_namespace", "lease"]
        )
        leader.add_metric(self._lease, float(self._is_leader()))
        yield leader
        family = GaugeMetricFamily(
            "neuron_operator_watch_age_seconds", "Seconds since the watch was last confirmed to work."
        )
        if (age := self._watch_age()) is not None:
            family.add_metric([], age)
        yield family


class TableMetrics(Collector):
    """The failure table in use, at scrape time."""

    def __init__(self, rules: FailureRules) -> None:
        self._rules = rules

    def collect(self) -> Iterator[Metric]:
        valid = "1; 0 where the file of the failure table is wrong, and the last good one stays in use."
        yield GaugeMetricFamily("neuron_operator_failure_table_valid", valid, float(self._rules.is_valid))
        family = GaugeMetricFamily("neuron_operator_failure_table_info", "1: the table in use.", labels=["revision"])
        family.add_metric([self._rules.table.revision], 1)
        yield family
