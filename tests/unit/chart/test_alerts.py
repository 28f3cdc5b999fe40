"""The chart's alerts: expressions, texts, owners and runbooks. `make test-alerts` evaluates them with promtool.

Kind: an alert that can never fire, that names nothing, or that nobody knows how to answer.
"""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from neuron_api.resource.reasons import RESPONSES, Alert, Reason
from neuron_operator.cli.live import commands

from . import exported
from .test_chart import CHART, IMAGES, KUBERNETES, NAMESPACE, RELEASE, helm, needs_helm, of_kind, refusal, render
from .test_monitoring import RUNBOOKS, kept

Json = dict[str, Any]

ROOT = Path(__file__).parents[3]
REASONS = ROOT / "docs" / "reference" / "reasons.md"
RULES = {"metrics": {"rules": {"enabled": True, "labels": {"release": "prometheus"}}}}
SECTIONS = ["Meaning", "Impact", "Diagnosis", "Mitigation", "Escalation"]
PAGES = sorted(RUNBOOKS.glob("Neuron*.md"))
AT_ONCE = {"NeuronTrainingJobFailed", "NeuronOperatorBug"}
"""An event, which a second look would not confirm."""


def rules(**values: Any) -> list[Json]:
    (rule,) = of_kind(render(**(values or RULES)), "PrometheusRule")
    return [one for group in rule["spec"]["groups"] for one in group["rules"]]


@needs_helm
def test_every_alert_asks_for_what_is_exported_with_labels_that_it_has() -> None:
    assert exported.unknown(one["expr"] for one in rules()) == []


@needs_helm
def test_an_alert_is_named_once_and_waits_unless_it_is_an_event() -> None:
    names = [one["alert"] for one in rules()]
    assert len(names) == len(set(names)) == 16
    assert {one["alert"] for one in rules() if "for" not in one} == AT_ONCE
    for one in rules():
        assert set(one) <= {"alert", "expr", "for", "labels", "annotations"}


@needs_helm
def test_an_alert_has_a_severity_an_owner_texts_and_a_runbook() -> None:
    values = {"metrics": {"rules": {"enabled": True, "runbookBaseUrl": "https://pages.example/runbooks/"}}}
    for one in rules(**values):
        assert one["labels"]["severity"] in ("warning", "critical")
        assert one["labels"]["owner"] in ("user", "platform")
        assert set(one["annotations"]) == {"summary", "description", "runbook_url"}
        assert one["annotations"]["runbook_url"] == f"https://pages.example/runbooks/{one['alert']}.md"
    assert rules()[0]["annotations"]["runbook_url"] == "docs/runbooks/NeuronTrainingJobFailed.md"
    assert "runbookBaseUrl" in refusal(metrics={"rules": {"runbookBaseUrl": ""}})


@needs_helm
def test_the_words_of_an_alert_name_labels_that_its_expression_keeps() -> None:
    """An aggregation drops labels; `{{ $labels.training_job }}` would then be empty."""
    for one in rules():
        texts = (*one["annotations"].values(), *one["labels"].values())
        used = set(re.findall(r"\$labels\.(\w+)", " ".join(texts)))
        assert used <= kept(one["expr"]), one["alert"]


@needs_helm
def test_an_alert_about_a_job_is_routed_by_the_jobs_namespace() -> None:
    for one in rules():
        about_a_job = one["alert"].startswith("NeuronTraining")
        assert one["labels"].get("namespace") == ("{{ $labels.training_namespace }}" if about_a_job else None)


@needs_helm
def test_a_release_without_a_leader_is_not_hidden_by_another() -> None:
    (rule,) = [one for one in rules() if one["alert"] == "NeuronOperatorNotLeading"]
    assert "sum by (lease_namespace, lease)" in rule["expr"]
    wanted = {"lease_namespace": "neuron-training-system", "lease": "neuron-training-operator"}
    assert wanted in [matchers for _, matchers in exported.selectors(rule["expr"])], "absent(): of this release"


@needs_helm
@pytest.mark.parametrize(
    ("values", "field", "words"),
    [({"noStepSeconds": 60}, "expr", "> 60 and"), ({"checkpointSeconds": 90}, "expr", "> 90 and"),
     ({"budgetShare": 0.5}, "expr", ">= 0.5 and"), ({"restartsPerHour": 9}, "expr", "[1h])) > 9"),
     ({"pendingSeconds": 2592000}, "for", "2592000s"), ({"queuedSeconds": 77}, "for", "77s")],
)  # fmt: skip
def test_thresholds_are_values(values: Json, field: str, words: str) -> None:
    found = rules(metrics={"rules": {"enabled": True, **values}})
    assert sum(words in one.get(field, "") for one in found) == 1


# ---- runbooks ---------------------------------------------------------------------------------------------------


@needs_helm
def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    assert {page.stem for page in PAGES} == {one["alert"] for one in rules()}
    assert {alert.value for alert in Alert} == {one["alert"] for one in rules() if "Training" in one["alert"]}


@needs_helm
def test_the_pages_say_severity_and_owner_as_the_alerts_have_them() -> None:
    overview = (RUNBOOKS / "README.md").read_text()
    for one in rules():
        severity, owner = one["labels"]["severity"], one["labels"]["owner"]
        assert f"**Severity** {severity} · **owner** {owner} · " in (RUNBOOKS / f"{one['alert']}.md").read_text()
        assert f"| [{one['alert']}]({one['alert']}.md) | {severity} | {owner} |" in overview


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_runbook_has_all_sections_and_commands(page: Path) -> None:
    text = page.read_text()
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    parts = dict(zip(SECTIONS, re.split(r"^## .+$", text, flags=re.MULTILINE)[1:], strict=True))
    assert all(part.strip() for part in parts.values())
    assert re.search(r"```\n(kubectl|helm) ", parts["Diagnosis"])


def test_runbooks_and_alerts_name_commands_that_the_plugin_has() -> None:
    texts = [page.read_text() for page in PAGES]
    texts.append((ROOT / "helm/neuron-training-operator/templates/prometheusrule.yaml").read_text())
    used = {name for text in texts for name in re.findall(r"kubectl neuron ([a-z]+)", text)}
    assert used
    assert used <= {*commands.COMMANDS, "plan", "convert"}


@needs_helm
def test_runbooks_find_an_operator_of_any_release_name() -> None:
    """Kind: a command that takes Helm's release name for the name of its objects. With release `nto` they differ."""
    done = helm("template", "nto", str(CHART), "--namespace", NAMESPACE, *KUBERNETES, values=IMAGES)
    assert done.returncode == 0, done.stderr
    (found,) = of_kind(list(yaml.safe_load_all(done.stdout)), "Deployment")
    name, labels = found["metadata"]["name"], found["metadata"]["labels"]
    assert (name, labels["app.kubernetes.io/instance"]) == ("nto-neuron-training-operator", "nto")
    assert f"--lease-name={name}" in found["spec"]["template"]["spec"]["containers"][0]["args"]
    for page in RUNBOOKS.glob("NeuronOperator*.md"):
        text = page.read_text()
        assert "RELEASE=$(kubectl -n $NAMESPACE get deployment $OPERATOR -o jsonpath=" in text, page.name
        for before in re.findall(r"(\S+[ =/:]+)\$RELEASE", text):
            assert before in ("app.kubernetes.io/instance=", "rollback "), (page.name, before)


def test_anchors_of_the_page_of_reasons_lead_somewhere() -> None:
    anchors = set(re.findall(r'<a id="([^"]+)"></a>', REASONS.read_text()))
    assert anchors == {reason.value.lower() for reason in Reason}
    for page in (*RUNBOOKS.glob("*.md"), *(ROOT / "docs").glob("*.md")):
        linked = set(re.findall(r"reasons\.md#([a-z]+)", page.read_text()))
        assert linked <= anchors, page.name


@pytest.mark.parametrize("alert", Alert)
def test_a_runbook_and_the_page_of_reasons_name_each_other(alert: Alert) -> None:
    """Kind: a reason whose link leads to a page that does not mention it. All reasons, both ways."""
    linked = set(re.findall(r"\[`(\w+)`\]\(\.\./reference/reasons\.md", (RUNBOOKS / f"{alert}.md").read_text()))
    expected = {reason.value for reason, one in RESPONSES.items() if alert in one.alerts}
    assert linked == expected


@needs_helm
def test_runbooks_that_no_pager_can_open_are_announced_at_the_installation(tmp_path: Path) -> None:
    """Kind: a default that nobody can use: `runbook_url: docs/runbooks/…`. The notes name the value to set."""
    chart = shutil.copytree(CHART, tmp_path / CHART.name)
    shutil.copy(chart / "templates" / "NOTES.txt", chart / "files")
    (chart / "templates" / "printed.yaml").write_text('notes: {{ tpl (.Files.Get "files/NOTES.txt") . | toJson }}\n')

    def notes(**metrics: Json) -> str:
        values = IMAGES | {"metrics": metrics}
        done = helm(
            "template", RELEASE, str(chart), *KUBERNETES, "--show-only", "templates/printed.yaml", values=values
        )
        assert done.returncode == 0, done.stderr
        return str(yaml.safe_load(done.stdout)["notes"])

    address = {"runbookBaseUrl": "https://pages.example/runbooks"}
    assert "metrics.rules.runbookBaseUrl is docs/runbooks, which is not a URL" in notes(rules={"enabled": True})
    assert "runbookBaseUrl" in notes(dashboard={"enabled": True})
    assert "runbookBaseUrl" not in notes()
    assert "runbookBaseUrl" not in notes(rules={"enabled": True, **address}, dashboard={"enabled": True})
