"""What operator and trainer export once everything has happened, out of their registries; and what PromQL reads."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import promql_parser
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from builders import NOW, at, make_job
from neuron_api.metrics import NAMES
from neuron_api.resource.progress import CheckpointReport, Progress
from neuron_api.resource.reasons import ConditionType, Reason
from neuron_api.resource.status import (
    CheckpointStatus,
    Condition,
    ConditionStatus,
    JobStatus,
    Phase,
    PodStatus,
    ProgressStatus,
    Restart,
    RestartScope,
    TopologyStatus,
)
from neuron_api.resource.time_spent import TimeSpent
from neuron_operator.failure_rules import FailureRules
from neuron_operator.monitoring.metrics import Metrics, TableMetrics
from neuron_trainer.launcher.server import ReportCollector


def operator() -> CollectorRegistry:
    """The registry of an operator to which everything has happened."""
    metrics = Metrics(watch_age=lambda: 1.0, clock=lambda: at(2), lease=("system", "ours"))
    stalled = Condition(
        type=ConditionType.STALLED, status=ConditionStatus.TRUE, reason=Reason.CLAIM_NOT_FOUND, last_transition_time=NOW
    )
    fault = Restart(restart_scope=RestartScope.POD, cause=Reason.NODE_LOST, time=NOW)
    closed = fault.model_copy(update={"recovered_time": at(1), "recovery_seconds": 1.0, "steps_lost": 1})
    status = JobStatus(
        phase=Phase.RUNNING,
        conditions=(stalled,),
        start_time=NOW,
        topology=TopologyStatus(
            nodes=1, processes_per_node=1, world_size=1, tensor_parallel=1, data_parallel=1, micro_batches=1
        ),
        pods=(PodStatus(name="a", uid="a"),),
        progress=ProgressStatus(
            step=1,
            max_steps=2,
            loss=1.0,
            tokens_per_second=1.0,
            mfu=0.4,
            metrics=dict.fromkeys(NAMES, 0.5),
            records={"train": {"records": 1}},
            last_step_time=NOW,
            estimated_completion_time=NOW,
        ),
        goodput=0.5,
        time_spent=TimeSpent(start_time=NOW, end_time=at(1), seconds={"step": 1.0}),
        checkpoint=CheckpointStatus(step=1, path="/c", time=NOW),
        restarts=(closed,),
        restart_count=1,
    )
    job = make_job().build()
    metrics.count_request("GET", "pods", "200")
    metrics.observe_pass("success", 0.1)
    metrics.job_changed(job, JobStatus())
    metrics.job_changed(job, status)
    metrics.registry.register(TableMetrics(FailureRules()))
    return metrics.registry


def trainer() -> CollectorRegistry:
    """The registry of a launcher whose processes have told everything."""
    report = Progress(
        step=1, max_steps=2, loss=1.0, learning_rate=0.1, tokens_per_second=1.0, mfu=0.4,
        checkpoint=CheckpointReport(step=1, path="/c", time=NOW), metrics=dict.fromkeys(NAMES, 0.5),
        records={"train": {"records": 1}},
        untracked=1, spikes={"loss": 1}, stragglers=(),
    )  # fmt: skip
    registry = CollectorRegistry()
    registry.register(ReportCollector(lambda: report))
    return registry


def families() -> list[Metric]:
    """Of both programs."""
    return [family for registry in (operator(), trainer()) for family in registry.collect()]


def samples() -> dict[str, set[str]]:
    """Names of samples with their labels."""
    found = [sample for family in families() for sample in family.samples]
    return {sample.name: set(sample.labels) for sample in found if not sample.name.endswith("_created")}


def names() -> set[str]:
    """As people write them: a histogram's three samples are one, a counter ends in `_total`."""
    return {base(name) for name in samples()}


def base(name: str) -> str:
    """Of a histogram's sample the histogram."""
    return re.sub(r"_(bucket|count|sum)$", "", name)


def selectors(expression: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Metrics of an expression with their matchers; the parser must accept the whole."""
    found: list[tuple[str, dict[str, str]]] = []

    def visit(node: Any) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            found.append((str(node.name), {one.name: one.value for one in node.matchers.matchers}))
        return True

    promql_parser.walk(promql_parser.parse(expression), visit)
    return iter(found)


def groupings(expression: str) -> set[str]:
    """Labels of `by (…)`, `without (…)`, `on (…)` and `ignoring (…)`."""
    inside = re.findall(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)", expression)
    return {label.strip() for labels in inside for label in labels.split(",") if label.strip()} - {"le"}


def unknown(expressions: Iterable[str]) -> list[tuple[str, set[str]]]:
    """What expressions ask for and nobody exports: metrics, and labels in matchers and groupings."""
    known, found = samples(), []
    for text in expressions:
        asked = list(selectors(text))
        assert asked, text
        for name, matchers in asked:
            if name not in known or not set(matchers) <= known[name]:
                found.append((name, set(matchers)))
        grouped = groupings(text) - set().union(*(known.get(name, set()) for name, _ in asked))
        if grouped:
            found.append((text, grouped))
    return found
