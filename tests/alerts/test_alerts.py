"""The chart's alerts as Prometheus itself evaluates them: promtool on synthetic series.

Kind: an alert that does not fire when it must, or fires when it must not. Looked at: each alert before and after its
time; two jobs of one name in two namespaces; a scrape that gives targets `namespace`, `job` and `pod`; a change of the
leader; a second release. Times are minutes.
"""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest

from controlplane import optionalprograms
from unit.chart import exported
from unit.chart.test_alerts import rules

Json = dict[str, Any]

TARGET = 'job="kubernetes-pods", namespace="system"'
"""What a plain scrape by annotations gives; the operator's own labels must do without."""
SHOWN = ("alertname", "namespace", "training_namespace", "training_job", "reason", "lease", "resource", "pod")


@dataclass(frozen=True)
class Story:
    """Series of one situation, and the alerts that fire at a time."""

    name: str
    series: dict[str, str]
    firing: dict[int, list[Json]]
    """Minute to labels; [] where none may fire."""
    leader: bool = field(default=True)


def job(metric: str, pod: str = "op-0", namespace: str = "team-a", name: str = "tiny", **labels: str) -> str:
    """A series of a job as Prometheus stores it."""
    own = {"training_namespace": namespace, "training_job": name, "pod": pod, **labels}
    return f"neuron_training_{metric}{{{TARGET}, {matchers(own)}}}"


def state(phase: str, reason: str, condition: str = "Reconciling", **more: str) -> str:
    return job("job_state", phase=phase, condition=condition, reason=reason, **more)


def operator(metric: str, pod: str = "op-0", **labels: str) -> str:
    return f"neuron_operator_{metric}{{{TARGET}, {matchers({'pod': pod, **labels})}}}"


def matchers(labels: Json) -> str:
    return ", ".join(f'{key}="{value}"' for key, value in labels.items())


def about(alert: str, namespace: str = "team-a", reason: str = "", pod: str = "op-0") -> Json:
    """Labels of an alert about a job."""
    found = {"alertname": alert, "namespace": namespace, "training_namespace": namespace, "training_job": "tiny"}
    return found | ({"reason": reason} if reason else {}) | ({"pod": pod} if pod else {})


def of(alert: str, **labels: str) -> Json:
    """Labels of an alert about the operator."""
    return {"alertname": alert, "namespace": "system", "pod": "op-0", **labels}


RUNNING = state("Running", "StepsAdvancing", "Ready")
LEASE = {"lease_namespace": "neuron-training-system", "lease": "neuron-training-operator"}

STORIES = [
    Story(
        "a job fails, and the alert ends an hour later",
        {RUNNING: "1x9 _x200", state("Failed", "BudgetExhausted", "Stalled"): "_x9 1x200"},
        {8: [], 10: [about("NeuronTrainingJobFailed", reason="BudgetExhausted")], 75: []},
    ),
    Story(
        "a job that had failed before is not reported again by a new leader",
        {
            state("Failed", "BudgetExhausted", "Stalled"): "1x100 _x100",
            state("Failed", "BudgetExhausted", "Stalled", pod="op-1"): "_x100 1x100",
        },
        {90: [], 110: []},
    ),
    Story(
        "a claim is missing",
        {state("Pending", "ClaimNotFound", "Stalled"): "1x200"},
        {9: [], 11: [about("NeuronTrainingJobStalled", reason="ClaimNotFound")]},
    ),
    Story(
        "no node for an hour; a job that moves on is given time again",
        {
            state("Pending", "PodsPending"): "1x200",
            state("Pending", "PodsPending", name="other"): "1x40 _x200",
            state("Starting", "WaitingForFirstStep", name="other"): "_x40 1x40 _x200",
        },
        {59: [], 61: [about("NeuronTrainingJobPending", reason="PodsPending")]},
    ),
    Story(
        "a day in the queue",
        {state("Pending", "WaitingForQuota"): "1x1500"},
        {70: [], 1439: [], 1441: [about("NeuronTrainingJobQueued", reason="WaitingForQuota")]},
    ),
    Story(
        "two jobs of one name, and only one of them hangs",
        {
            RUNNING: "1x100",
            state("Running", "StepsAdvancing", "Ready", namespace="team-b"): "1x100",
            job("last_step_timestamp_seconds"): "0x100",
            job("last_step_timestamp_seconds", namespace="team-b"): "0+60x100",
            job("checkpoint_timestamp_seconds"): "0+60x100",
            job("checkpoint_timestamp_seconds", namespace="team-b"): "0+60x100",
        },
        {34: [], 37: [about("NeuronTrainingNoStep")]},
    ),
    Story(
        "a job that is suspended finishes no step, and that is well",
        {state("Suspended", "Suspended", "Ready"): "1x100", job("last_step_timestamp_seconds"): "0x100"},
        {90: []},
    ),
    Story(
        "an old checkpoint",
        {RUNNING: "1x200", job("checkpoint_timestamp_seconds"): "0x200", job("start_timestamp_seconds"): "0x200"},
        {124: [], 126: [about("NeuronTrainingCheckpointOld")]},
    ),
    Story(
        "no checkpoint at all",
        {RUNNING: "1x200", job("start_timestamp_seconds"): "0x200"},
        {124: [], 126: [about("NeuronTrainingCheckpointOld")]},
    ),
    Story(
        "two of three failures",
        {RUNNING: "1x50", job("restart_budget_used"): "1x10 2x50", job("restart_budget_limit"): "3x60"},
        {15: [], 17: [about("NeuronTrainingRestartBudgetLow")]},
    ),
    Story(
        "no budget is none that is used up",
        {RUNNING: "1x50", job("restart_budget_used"): "0x50", job("restart_budget_limit"): "0x50"},
        {40: []},
    ),
    Story(
        "seven restarts from the first on, across a change of the leader",
        {
            job("restarts_total"): "0x5 1 2 3 3x10 _x200",
            job("restarts_total", pod="op-1"): "_x19 3 4 5 6 7 7x200",
        },
        {23: [], 31: [about("NeuronTrainingRestartsOften", pod="")], 120: []},
    ),
    Story(
        "a slow process that stays slow, one that is fast again, and one of a job that is suspended",
        {
            RUNNING: "1x90",
            job("stragglers"): "0x5 1x40 0x50",
            state("Running", "StepsAdvancing", "Ready", name="brief"): "1x90",
            job("stragglers", name="brief"): "0x5 1x10 0x80",
            state("Suspended", "Suspended", "Ready", name="idle"): "1x90",
            job("stragglers", name="idle"): "1x90",
        },
        {20: [], 22: [about("NeuronTrainingStraggler")], 48: []},
    ),
    Story(
        "a release without a leader beside one that has one",
        {operator("is_leader", lease_namespace="other", lease="theirs"): "0x50"},
        {1: [], 3: [{"alertname": "NeuronOperatorNotLeading", "lease": "theirs"}]},
    ),
    Story(
        "this release is not scraped",
        {operator("is_leader", lease_namespace="other", lease="theirs"): "1x50"},
        {1: [], 3: [{"alertname": "NeuronOperatorNotLeading", "lease": "neuron-training-operator"}]},
        leader=False,
    ),
    Story(
        "a standby is no missing leader",
        {operator("is_leader", "op-1", **LEASE): "0x50"},
        {40: []},
    ),
    Story("a blind watch", {operator("watch_age_seconds"): "0+60x50"}, {20: [], 22: [of("NeuronOperatorBlind")]}),
    Story(
        "one of five reconciles of one replica fails, another is busy and well",
        {
            operator("reconcile_duration_seconds_count", result="success"): "0+4x60",
            operator("reconcile_duration_seconds_count", result="error"): "0+1x60",
            operator("reconcile_duration_seconds_count", "op-1", result="success"): "0+900x60",
            operator("reconcile_duration_seconds_count", "op-1", result="error"): "0x60",
        },
        {14: [], 18: [of("NeuronOperatorReconcileErrors")]},
    ),
    Story(
        "the first bug",
        {operator("reconcile_duration_seconds_count", result="bug"): "0x10 1x50"},
        {10: [], 12: [of("NeuronOperatorBug")], 30: []},
    ),
    Story(
        "a wrong table",
        {operator("failure_table_valid"): "1x5 0x50"},
        {10: [], 12: [of("NeuronOperatorFailureTable")]},
    ),
    Story(
        "a right is missing",
        {operator("api_requests_total", verb="POST", resource="pods", code="403"): "0+1x50"},
        {9: [], 13: [of("NeuronOperatorForbidden", resource="pods")]},
    ),
    Story(
        "an older definition refuses the status",
        {operator("refused_status_writes_total"): "0x5 0+1x50"},
        {14: [], 18: [of("NeuronOperatorStatusRefused")]},
    ),
]


def promtool(*arguments: str | Path, stdin: bytes = b"") -> None:
    done = subprocess.run(
        [optionalprograms.program("promtool"), *arguments], input=stdin, capture_output=True, timeout=300, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr).decode()


@pytest.fixture(scope="module")
def rule_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rules as the chart renders them, without the object around them."""
    path = tmp_path_factory.mktemp("rules") / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "chart", "rules": rules()}]}))
    return path


def test_promtool_accepts_the_rules(rule_file: Path) -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", rule_file)


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_alerts_fire_when_they_must_and_only_then(story: Story, rule_file: Path) -> None:
    series = story.series | ({operator("is_leader", **LEASE): "1x3000"} if story.leader else {})
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": list(expectations(story)),
    }
    file = rule_file.with_name("test.yaml")
    file.write_text(yaml.safe_dump({"rule_files": [str(rule_file)], "tests": [test]}))
    promtool("test", "rules", file)


def expectations(story: Story) -> Iterator[Json]:
    for minute, alerts in story.firing.items():
        samples = [{"labels": f"{{{matchers(one)}}}", "value": 1} for one in alerts]
        expression = f'count by ({", ".join(SHOWN)}) (ALERTS{{alertstate="firing"}})'
        yield {"expr": expression, "eval_time": f"{minute}m", "exp_samples": samples}


def test_every_alert_has_a_story() -> None:
    told = {one["alertname"] for story in STORIES for alerts in story.firing.values() for one in alerts}
    assert told == {one["alert"] for one in rules()}


def test_prometheus_own_check_of_names_finds_nothing() -> None:
    for registry in (exported.operator(), exported.trainer()):
        promtool("check", "metrics", "--extended", stdin=generate_latest(registry))
