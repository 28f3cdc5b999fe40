"""Dashboard and alerts against what the operator really exports, read by an independent parser of PromQL."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest

from builders import NOW, at, make_job
from neuron_api.reasons import ConditionType, Reason
from neuron_api.status import (
    CheckpointStatus,
    Condition,
    ConditionStatus,
    JobStatus,
    Phase,
    PodStatus,
    ProgressStatus,
    Restart,
    Rung,
    TopologyStatus,
)
from neuron_operator.failure_rules import FailureRules
from neuron_operator.metrics import Metrics, TableMetrics

from .test_chart import CHART, needs_helm, of_kind, render

Json = dict[str, Any]

RULES = {"metrics": {"rules": {"enabled": True, "labels": {"release": "prometheus"}}}}
VARIABLES = {"$namespace": ".*", "$job": ".*"}


def exported() -> dict[str, set[str]]:
    """Names of samples with their labels, of an operator to which everything has happened."""
    metrics = Metrics(watch_age=lambda: 1.0, clock=lambda: at(2))
    stalled = Condition(
        type=ConditionType.STALLED, status=ConditionStatus.TRUE, reason=Reason.CLAIM_NOT_FOUND, last_transition_time=NOW
    )
    fault = Restart(rung=Rung.POD, cause=Reason.NODE_LOST, time=NOW)
    closed = fault.model_copy(update={"recovered_time": at(1), "recovery_seconds": 1.0, "steps_lost": 1})
    status = JobStatus(
        phase=Phase.RUNNING,
        conditions=(stalled,),
        topology=TopologyStatus(
            nodes=1, processes_per_node=1, world_size=1, tensor_parallel=1, data_parallel=1, micro_batches=1
        ),
        pods=(PodStatus(name="a", uid="a"),),
        progress=ProgressStatus(
            step=1, max_steps=2, loss=1.0, tokens_per_second=1.0, last_step_time=NOW, estimated_completion_time=NOW
        ),
        goodput=0.5,
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
    samples = [sample for family in metrics.registry.collect() for sample in family.samples]
    return {sample.name: set(sample.labels) for sample in samples if not sample.name.endswith("_created")}


def families() -> set[str]:
    """A histogram's three samples are one."""
    return {re.sub(r"_(bucket|count|sum)$", "", name) for name in exported()}


def selectors(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Metrics of an expression with the labels that its matchers name; the parser must accept the whole."""
    found: list[tuple[str, set[str]]] = []

    def visit(node: Any) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            found.append((str(node.name), {matcher.name for matcher in node.matchers.matchers}))
        return True

    tree = promql_parser.parse(expression)
    promql_parser.walk(tree, visit)
    return iter(found)


def dashboard() -> Json:
    found: Json = json.loads((CHART / "files" / "dashboard.json").read_text())
    return found


def of_dashboard() -> list[str]:
    texts = [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", ())]
    for name, value in VARIABLES.items():
        texts = [text.replace(name, value) for text in texts]
    return texts


def rules() -> list[Json]:
    (rule,) = of_kind(render(**RULES), "PrometheusRule")
    return [one for group in rule["spec"]["groups"] for one in group["rules"]]


def unknown(expressions: list[str]) -> list[tuple[str, set[str]]]:
    known = exported()
    asked = [one for text in expressions for one in selectors(text)]
    assert len(asked) >= len(expressions)
    return [(name, labels) for name, labels in asked if name not in known or not labels <= known[name]]


def test_every_panel_asks_for_what_is_exported_with_labels_that_it_has() -> None:
    assert unknown(of_dashboard()) == []
    assert unknown(["sum(neuron_training_setp)", 'neuron_training_jobs{job="a"}']) == [
        ("neuron_training_setp", set()),
        ("neuron_training_jobs", {"job"}),
    ]


def test_every_metric_is_on_the_dashboard() -> None:
    shown = {re.sub(r"_(bucket|count|sum)$", "", name) for text in of_dashboard() for name, _ in selectors(text)}
    assert families() - shown == set()


def test_panels_do_not_lie_on_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    ids = [panel["id"] for panel in dashboard()["panels"]]
    assert len(ids) == len(set(ids))


@needs_helm
def test_every_alert_asks_for_what_is_exported_with_labels_that_it_has() -> None:
    assert unknown([one["expr"] for one in rules()]) == []


@needs_helm
def test_an_alert_is_named_once_and_says_what_to_do() -> None:
    names = [one["alert"] for one in rules()]
    assert len(names) == len(set(names)) == 12
    for one in rules():
        assert one["labels"]["severity"] in ("warning", "critical")
        assert one["annotations"]["summary"]
        assert one["annotations"]["description"]
        allowed = {"alert", "expr", "for", "labels", "annotations"}
        assert set(one) <= allowed


@needs_helm
def test_the_words_of_an_alert_name_labels_that_its_expression_keeps() -> None:
    """An aggregation drops labels; `{{ $labels.job }}` would then be empty."""
    for one in rules():
        used = set(re.findall(r"\$labels\.(\w+)", " ".join(one["annotations"].values())))
        if by := re.search(r"sum by \(([^)]*)\)", one["expr"]):
            kept = {label.strip() for label in by.group(1).split(",")}
        else:
            kept = set.intersection(*(exported()[name] for name, _ in selectors(one["expr"])))
            kept |= next(iter(exported()[name] for name, _ in selectors(one["expr"])))
        assert used <= kept, one["alert"]


@needs_helm
@pytest.mark.parametrize(
    ("values", "words"),
    [({"noStepSeconds": 60}, "> 60 and"), ({"checkpointSeconds": 90}, "> 90 and"), ({"budgetShare": 0.5}, ">= 0.5 and"),
     ({"restartsPerHour": 9}, "[1h])) > 9")],
)  # fmt: skip
def test_thresholds_are_values(values: Json, words: str) -> None:
    (rule,) = of_kind(render(metrics={"rules": {"enabled": True, **values}}), "PrometheusRule")
    assert sum(words in one["expr"] for group in rule["spec"]["groups"] for one in group["rules"]) == 1


@needs_helm
def test_the_dashboard_is_a_config_map_that_a_sidecar_finds() -> None:
    assert "neuron-training.json" not in [name for one in of_kind(render(), "ConfigMap") for name in one["data"]]
    objects = of_kind(render(metrics={"dashboard": {"enabled": True}}), "ConfigMap")
    (found,) = [one for one in objects if "neuron-training.json" in one["data"]]
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(found["data"]["neuron-training.json"]) == dashboard()


@needs_helm
def test_a_scrape_keeps_the_names_of_the_jobs() -> None:
    """Prometheus would rename `job` and `namespace` of the metrics: its own targets have labels of these names."""
    (monitor,) = of_kind(render(metrics={"serviceMonitor": {"enabled": True}}), "ServiceMonitor")
    assert monitor["spec"]["endpoints"][0]["honorLabels"] is True


def test_the_page_of_metrics_names_every_one() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "README.md").read_text()
    assert [name for name in sorted(families()) if f"`{name}`" not in page] == []
