"""Jobs and plans in a notebook: a bar that says how far, every text escaped."""

from html.parser import HTMLParser
from pathlib import Path

import pytest

from neuron_client import Job, JobList, MetricsRow, NeuronTrainingClient
from neuron_client.metrics import Metrics

ROOT = Path(__file__).parents[3]
JOB = Job(
    "a<b>", "Running", message="<script>alert(1)</script>", step=30, max_steps=120, loss=2.5, tokens_per_second=1234.5,
    seconds_left=3700.0, checkpoint_step=20, nodes=2, ready_nodes=1, restarts=1, steps_lost=4, goodput=0.93,
)  # fmt: skip


class Page(HTMLParser):
    """The elements and the text of a fragment; a tag that is not closed is an error."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.attributes: dict[str, dict[str, str | None]] = {}
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes[tag] = dict(attrs)
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "


def test_a_card_has_a_bar_and_no_markup_of_the_job() -> None:
    page = Page(JOB._repr_html_())
    assert page.attributes["progress"] == {"value": "30", "max": "120", "aria-label": "steps of a<b>"}
    assert "script" not in page.attributes
    for text in ("a<b>", "Running", "30/120 steps", "2.5000", "1,234", "1:01:40", "1 of 2 ready", "4 steps", "93%"):
        assert text in page.text


def test_a_job_without_a_last_step_has_no_bar() -> None:
    page = Page(Job("a", "Running", step=3)._repr_html_())
    assert "progress" not in page.attributes
    assert "step 3" in page.text


def test_jobs_are_a_table() -> None:
    page = Page(JobList([JOB, Job("c", "Pending")])._repr_html_())
    assert page.text.split().count("Running") == page.text.split().count("Pending") == 1


def test_a_plan_shows_its_rows_and_findings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    plan = NeuronTrainingClient(backend="local").plan("examples/laptop.yaml", overrides={"trainer.max_steps": -1})
    page = Page(plan._repr_html_())
    assert "processes" in page.text
    assert plan.findings
    assert all(finding.key in page.text for finding in plan.findings)


def test_texts_of_a_job_and_of_metrics() -> None:
    assert str(JOB) == "a<b>: Running, step 30 of 120, loss 2.5000"
    assert (JOB.progress, Job("c", "Pending").progress) == (0.25, None)
    frame = Metrics([MetricsRow(1, 2.0, values={"rewards_margin": 0.5}), MetricsRow(2, 1.5)]).to_pandas()
    assert list(frame.index) == [1, 2]
    assert frame.loss.tolist() == [2.0, 1.5]
    assert frame.rewards_margin.iloc[0] == 0.5
    assert Metrics([]).to_pandas().empty
