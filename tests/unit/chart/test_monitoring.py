"""Metrics by Prometheus' conventions, and the dashboard against what both programs really export.

Kind: a name that Prometheus changes, a panel that shows nothing or ignores its variables. PromQL is read by an
independent parser; metrics and labels come from the programs' own registries. Grafana itself was not run.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from . import exported
from .exported import unknown
from .test_chart import CHART, needs_helm, of_kind, render

Json = dict[str, Any]

ROOT = Path(__file__).parents[3]
RUNBOOKS = ROOT / "docs" / "runbooks"
VARIABLES = {"$namespace": ".*", "$job": ".*"}
TARGET_LABELS = {"job", "instance", "namespace", "pod", "service", "endpoint", "container", "node"}
"""What scrapes give their targets: where a metric has one of these, too, Prometheus renames the metric's."""


# ---- metrics ----------------------------------------------------------------------------------------------------


def test_no_metric_has_a_label_that_prometheus_gives_its_targets() -> None:
    """Without honorLabels `job` becomes `exported_job`, and every panel is empty."""
    assert {name: labels & TARGET_LABELS for name, labels in exported.samples().items() if labels & TARGET_LABELS} == {}


@pytest.mark.parametrize("family", exported.families(), ids=lambda family: family.name)
def test_a_metric_is_named_by_convention(family: Any) -> None:
    """Counters end in `_total`, times are seconds and durations say so, nothing else does; base units only."""
    names = {exported.base(sample.name) for sample in family.samples if not sample.name.endswith("_created")}
    for name in names:
        assert re.fullmatch(r"neuron_(operator|training|trainer)_[a-z]+(_[a-z]+)*", name)
        assert (family.type == "counter") == name.endswith("_total"), name
        assert (family.type == "histogram") == name.endswith("_duration_seconds"), name
        assert not re.search(r"_(ms|milliseconds|minutes|hours|percent|length|gauge|counter)\b", name)
        assert "lost_steps" not in name, "one word for it: steps_lost"
    assert family.documentation.endswith(".")


def test_an_expression_for_what_nobody_exports_is_found() -> None:
    wrong = ["sum(neuron_training_setp)", 'neuron_training_step{job="a"}', "sum by (job) (neuron_training_step)"]
    assert unknown(wrong) == [
        ("neuron_training_setp", set()),
        ("neuron_training_step", {"job"}),
        ("sum by (job) (neuron_training_step)", {"job"}),
    ]


def test_the_page_of_metrics_names_every_one_and_no_other() -> None:
    page = (ROOT / "docs" / "reference" / "README.md").read_text()
    told = set(re.findall(r"`(neuron_(?:operator|training|trainer)_\w+)`", page))
    assert told == exported.names()


# ---- dashboard --------------------------------------------------------------------------------------------------


def dashboard() -> Json:
    found: Json = json.loads((CHART / "files" / "dashboard.json").read_text())
    return found


def panels() -> list[Json]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def expressions() -> list[str]:
    targets = [target["expr"] for panel in panels() for target in panel["targets"]]
    return [filled(text) for text in (*targets, *(one["expr"] for one in dashboard()["annotations"]["list"]))]


def filled(text: str) -> str:
    for name, value in VARIABLES.items():
        text = text.replace(name, value)
    return text


def test_every_panel_and_annotation_asks_for_what_is_exported_with_labels_that_it_has() -> None:
    assert unknown(expressions()) == []
    variables = [one for one in dashboard()["templating"]["list"] if one["type"] == "query"]
    for one in variables:
        found = re.fullmatch(r"label_values\((.+), (\w+)\)", one["query"]["query"])
        assert found
        assert unknown([f"sum by ({found[2]}) ({filled(found[1])})"]) == []


def test_every_panel_of_jobs_obeys_both_variables() -> None:
    wanted = {"training_namespace": "$namespace", "training_job": "$job"}
    sources = [target["expr"] for panel in panels() for target in panel["targets"]]
    sources += [one["expr"] for one in dashboard()["annotations"]["list"]]
    for text in sources:
        for name, matchers in exported.selectors(text):
            if name.startswith("neuron_training_"):
                assert {label: matchers.get(label) for label in wanted} == wanted, text


def test_legends_name_labels_that_the_expression_keeps() -> None:
    for panel in panels():
        for target in panel["targets"]:
            used = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            assert used <= kept(filled(target["expr"])), panel["title"]


def kept(expression: str) -> set[str]:
    """Labels of the result, as far as the expressions of this chart go."""
    if by := re.search(r"\b(?:sum|max|min|count) by \(([^)]*)\)", expression):
        return {label.strip() for label in by[1].split(",")}
    first = next(exported.selectors(expression))[0]
    dropped = re.search(r"without \(([^)]*)\)", expression)
    return exported.samples()[first] - ({label.strip() for label in dropped[1].split(",")} if dropped else set())


def test_every_metric_of_the_operator_is_on_the_dashboard() -> None:
    shown = {exported.base(name) for text in expressions() for name, _ in exported.selectors(text)}
    assert {name for name in exported.names() - shown if not name.startswith("neuron_trainer_")} == set()


def test_every_panel_says_what_it_shows_and_its_thresholds_and_links_are_sound() -> None:
    for panel in panels():
        assert panel["title"] and panel["description"].endswith("."), panel["title"]
        steps = panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", [])
        values = [one["value"] for one in steps[1:]]
        assert not steps or (steps[0]["value"] is None and values == sorted(values)), panel["title"]
        for link in panel.get("links", ()):
            assert (RUNBOOKS / link["url"].removeprefix("${runbooks}/")).is_file(), panel["title"]


def test_panels_of_what_alerts_watch_have_thresholds_and_every_alert_is_linked() -> None:
    linked = {Path(link["url"]).stem for panel in panels() for link in panel.get("links", ())}
    assert linked == {page.stem for page in RUNBOOKS.glob("Neuron*.md")}
    bare = [one["title"] for one in panels() if "thresholds" not in one["fieldConfig"]["defaults"] and one.get("links")]
    assert bare == ["Job states", "Steps since the last checkpoint", "Restarts per hour by cause",
                    "Reconciles by result", "Failed API requests"]  # fmt: skip


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
def test_the_dashboard_is_a_config_map_that_a_sidecar_finds_and_links_to_the_runbooks() -> None:
    assert "neuron-training.json" not in [name for one in of_kind(render(), "ConfigMap") for name in one["data"]]
    metrics = {"dashboard": {"enabled": True}, "rules": {"runbookBaseUrl": "https://pages.example/runbooks/"}}
    objects = of_kind(render(metrics=metrics), "ConfigMap")
    (found,) = [one for one in objects if "neuron-training.json" in one["data"]]
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    shown = json.loads(found["data"]["neuron-training.json"])
    (variable,) = [one for one in shown["templating"]["list"] if one["name"] == "runbooks"]
    assert variable["query"] == variable["current"]["value"] == "https://pages.example/runbooks"
    variable["query"] = variable["current"]["value"] = variable["current"]["text"] = "docs/runbooks"
    assert shown == dashboard()


@needs_helm
def test_a_scrape_needs_no_honor_labels() -> None:
    """Then `namespace` and `pod` of a series are those of the operator's pod, as everywhere else."""
    (monitor,) = of_kind(render(metrics={"serviceMonitor": {"enabled": True}}), "ServiceMonitor")
    assert "honorLabels" not in monitor["spec"]["endpoints"][0]
