"""What Prometheus reads at /metrics: the operator's own work, and the jobs as their statuses tell them."""

from collections import Counter as Tally
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from neuron_api.status import JobStatus, Phase

_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """One registry; also the controller's `Watcher`."""

    def __init__(
        self, queue_length: Callable[[], int] = lambda: 0, is_leader: Callable[[], bool] = lambda: True
    ) -> None:
        self.registry = CollectorRegistry()
        self._jobs: dict[tuple[str, str], JobStatus] = {}
        self._requests = Counter(
            "neuron_operator_api_requests", "Requests to the API server.", ["verb", "resource", "code"],
            registry=self.registry,
        )  # fmt: skip
        self._passes = Histogram(
            "neuron_operator_reconcile_seconds", "Duration of a pass.", ["result"], buckets=_BUCKETS,
            registry=self.registry,
        )  # fmt: skip
        self._restarts = Counter(
            "neuron_training_restarts", "Lines of the restart ledgers.", ["namespace", "job", "rung", "cause"],
            registry=self.registry,
        )  # fmt: skip
        self.registry.register(_Jobs(self._jobs, queue_length, is_leader))

    def count_request(self, verb: str, resource: str, code: str) -> None:
        """For the gateway."""
        self._requests.labels(verb, resource, code).inc()

    def observe_pass(self, result: str, seconds: float) -> None:
        """For the queue."""
        self._passes.labels(result).observe(seconds)

    def job_changed(self, namespace: str, name: str, before: JobStatus, after: JobStatus) -> None:
        """See `controller.Watcher`; the first sight of a job counts none of its old restarts."""
        if (namespace, name) in self._jobs:
            for entry in after.restarts[len(after.restarts) - (after.restart_count - before.restart_count) :]:
                self._restarts.labels(namespace, name, entry.rung.value, entry.cause.value).inc()
        self._jobs[namespace, name] = after

    def job_gone(self, namespace: str, name: str) -> None:
        """See `controller.Watcher`."""
        if self._jobs.pop((namespace, name), None) is not None:
            for labels in [one for one in self._restarts._metrics if one[:2] == (namespace, name)]:
                self._restarts.remove(*labels)


class _Jobs(Collector):
    """Read at scrape time."""

    def __init__(
        self,
        jobs: dict[tuple[str, str], JobStatus],
        queue_length: Callable[[], int],
        is_leader: Callable[[], bool],
    ) -> None:
        self._jobs, self._queue_length, self._is_leader = jobs, queue_length, is_leader

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("neuron_operator_queue_length", "Keys that wait for a pass.", self._queue_length())
        yield GaugeMetricFamily("neuron_operator_is_leader", "1 where the Lease is held.", float(self._is_leader()))
        phases = Tally(status.phase for status in self._jobs.values())
        by_phase = GaugeMetricFamily("neuron_training_jobs", "Jobs by phase.", labels=["phase"])
        for phase in Phase:
            by_phase.add_metric([phase.value], phases[phase])
        yield by_phase
        yield from self._progress()

    def _progress(self) -> Iterator[Metric]:
        labels = ["namespace", "job"]
        families = {
            "step": GaugeMetricFamily("neuron_training_step", "Finished optimizer steps.", labels=labels),
            "tokens": GaugeMetricFamily("neuron_training_tokens_per_second", "Throughput of the job.", labels=labels),
            "checkpoint": GaugeMetricFamily("neuron_training_checkpoint_step", "Newest checkpoint.", labels=labels),
            "lost": GaugeMetricFamily("neuron_training_steps_lost", "Steps that were done again.", labels=labels),
        }  # fmt: skip
        for key, status in self._jobs.items():
            values = {
                "step": status.progress.step if status.progress else None,
                "tokens": status.progress.tokens_per_second if status.progress else None,
                "checkpoint": status.checkpoint.step if status.checkpoint else None,
                "lost": status.steps_lost,
            }
            for name, value in values.items():
                if value is not None:
                    families[name].add_metric(list(key), value)
        yield from families.values()
