"""The jobs as Prometheus sees them: read from their statuses when it scrapes, gone when they are gone.

Nothing is derived that PromQL can derive: the age of a checkpoint is `time()` less its time.
"""

from collections import Counter as Tally
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from neuron_api.job import NeuronTrainingJob
from neuron_api.reasons import ConditionType
from neuron_api.status import Condition, ConditionStatus, JobStatus, Phase

Value = Callable[[JobStatus], float | None]

_LABELS: Final = ("namespace", "job")
_HEADLINE: Final = (ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED)

GAUGES: Final[Mapping[str, tuple[str, Value]]] = {
    "neuron_training_step": (
        "Finished optimizer steps.",
        lambda status: status.progress.step if status.progress else None,
    ),
    "neuron_training_max_steps": (
        "Step after which training ends.",
        lambda status: status.progress.max_steps if status.progress else None,
    ),
    "neuron_training_last_step_timestamp_seconds": (
        "When the last step was finished, Unix time.",
        lambda s: s.progress.last_step_time.timestamp() if s.progress and s.progress.last_step_time else None,
    ),
    "neuron_training_loss": (
        "Loss of the last finished step.",
        lambda status: status.progress.loss if status.progress else None,
    ),
    "neuron_training_tokens_per_second": (
        "Throughput of the job.",
        lambda status: status.progress.tokens_per_second if status.progress else None,
    ),
    "neuron_training_checkpoint_step": (
        "Step of the newest complete checkpoint.",
        lambda status: status.checkpoint.step if status.checkpoint else None,
    ),
    "neuron_training_checkpoint_timestamp_seconds": (
        "When the newest complete checkpoint was complete, Unix time.",
        lambda status: status.checkpoint.time.timestamp() if status.checkpoint else None,
    ),
    "neuron_training_steps_lost": ("Steps that were done again.", lambda status: status.steps_lost),
    "neuron_training_goodput_ratio": (
        "Share of the time since the start, without suspensions, that went into steps which were kept.",
        lambda status: status.goodput,
    ),
    "neuron_training_estimated_completion_timestamp_seconds": (
        "When the last step is finished at the present pace, Unix time.",
        lambda s: (
            s.progress.estimated_completion_time.timestamp()
            if s.progress and s.progress.estimated_completion_time
            else None
        ),
    ),
    "neuron_training_nodes": (
        "Pods that the job wants.",
        lambda status: status.topology.nodes if status.topology else None,
    ),
    "neuron_training_nodes_ready": (
        "Pods that are ready.",
        lambda status: sum(pod.ready for pod in status.pods) if status.topology else None,
    ),
    "neuron_training_gang_failures": (
        "Failures that count against restartPolicy.maxGangRestarts.",
        lambda status: status.gang_failures,
    ),
}
"""Name, what it is, and its value; None: the job has none."""


class JobMetrics(Collector):
    """The jobs that this operator has looked at."""

    def __init__(self) -> None:
        self._jobs: dict[tuple[str, str], tuple[JobStatus, int]] = {}

    def last(self, namespace: str, name: str) -> JobStatus | None:
        """As it was told last."""
        known = self._jobs.get((namespace, name))
        return known[0] if known else None

    def see(self, job: NeuronTrainingJob, status: JobStatus) -> None:
        """As it is from now on."""
        key = job.metadata.namespace, job.metadata.name
        self._jobs[key] = (status, job.spec.restart_policy.max_gang_restarts)

    def forget(self, namespace: str, name: str) -> bool:
        """Whether it was known."""
        return self._jobs.pop((namespace, name), None) is not None

    def collect(self) -> Iterator[Metric]:
        """See `Collector`."""
        phases = Tally(status.phase for status, _ in self._jobs.values())
        by_phase = GaugeMetricFamily("neuron_training_jobs", "Jobs by phase.", labels=["phase"])
        for phase in Phase:
            by_phase.add_metric([phase.value], phases[phase])
        yield by_phase
        yield from self._states()
        for name, (meaning, value) in GAUGES.items():
            family = GaugeMetricFamily(name, meaning, labels=_LABELS)
            for key, (status, _) in self._jobs.items():
                if (number := value(status)) is not None:
                    family.add_metric(key, number)
            yield family

    def _states(self) -> Iterator[Metric]:
        """One series a job: what alerts name a job by; and how much of its budget it has."""
        state = GaugeMetricFamily(
            "neuron_training_job_state", "1: the job's phase, and its condition of Ready, Reconciling, Stalled.",
            labels=(*_LABELS, "phase", "condition", "reason"),
        )  # fmt: skip
        budget = GaugeMetricFamily(
            "neuron_training_gang_failures_allowed", "restartPolicy.maxGangRestarts.", labels=_LABELS
        )
        for key, (status, allowed) in self._jobs.items():
            budget.add_metric(key, allowed)
            if (headline := _headline(status)) is not None:
                state.add_metric((*key, status.phase, headline.type, headline.reason), 1)
        yield state
        yield budget


def _headline(status: JobStatus) -> Condition | None:
    true = (one for one in status.conditions if one.status is ConditionStatus.TRUE)
    return next((one for one in true if one.type in _HEADLINE), None)
