"""Curves of a job on a cluster: from pod 0's launcher, else from its log, else a sentence."""

from collections.abc import Iterator
from typing import Any

import pytest

from neuron_api.resource.overview import Curve, Curves
from neuron_api.thinning import MAX_POINTS
from neuron_operator.cli.dashboard import curves
from neuron_operator.cli.files import plan
from neuron_operator.kube.errors import MayNotError

from .test_live_commands import Recorded, as_connection, recorded

LOG = """\
2026-11-30T12:00:00.1Z INFO neuron_trainer step 1/240  loss 7.6241  lr 1.5e-05  norm 3.210  12,345 tokens/s
2026-11-30T12:00:01.1Z INFO neuron_trainer step 2/240  loss 7.5  lr 3e-05  norm 2.000  99 tokens/s  mfu 31.0%
2026-11-30T12:00:01.2Z a line that says step 9 and loss
2026-11-30T12:00:02.1Z INFO neuron_trainer step 2/240  loss 7.4  lr 3e-05  norm nan  100 tokens/s
2026-11-30T12:00:03.1Z INFO neuron_trainer step 3/-  loss nan  accuracy 0.5  lr 3e-05  norm 1.0  1 tokens/s
"""


class WithCurves(Recorded):
    """A pod that answers at /history, or has a log."""

    def __init__(self, history: Any = None, log: Any = None) -> None:
        super().__init__("running")
        self._history, self._log = history, log

    def history(self, pod: str) -> bytes | None:
        if isinstance(self._history, Exception):
            raise self._history
        return self._history  # type: ignore[no-any-return]

    def log_lines(
        self, pod: str, *, follow: bool = False, tail: int | None = None, since: str | None = None
    ) -> Iterator[str] | None:
        assert (follow, tail, since) == (False, None, None), "the whole log, as it is"
        if isinstance(self._log, Exception):
            raise self._log
        return None if self._log is None else iter(self._log.splitlines())


def read(source: WithCurves) -> Curves:
    return curves.read(as_connection(source), recorded("running")[0].job)


def test_the_lines_of_logged_steps_are_curves_and_a_step_done_again_counts_as_done_last() -> None:
    shown = curves.from_log(LOG.splitlines(), "tiny-0-0")
    assert shown.steps == (1, 2, 3)
    values = {curve.label: curve.values for curve in shown.curves}
    assert values["loss"] == (7.6241, 7.4, None)
    assert values["learning rate"] == (1.5e-05, 3e-05, 3e-05)
    assert values["gradient norm"] == (3.21, None, 1.0)
    assert values["tokens per second"] == (12345.0, 100.0, 1.0)


def test_a_long_log_is_shown_to_its_end() -> None:
    """The first 4 MB of a log were shown, so that curves ended in the middle of a run without a word."""
    count = 30_000
    lines = (
        f"2026-11-30T12:00:00.1Z step {n}/-  loss {2 if n != 20_001 else 99}  lr 1e-5" for n in range(1, count + 1)
    )
    shown = curves.from_log(lines, "tiny-0-0")
    assert (shown.logged, shown.steps[0], shown.steps[-1]) == (count, 1, count)
    assert len(shown.steps) <= MAX_POINTS
    assert max(value or 0 for value in shown.curves[0].values) == 99


def test_the_log_is_that_of_the_trainer() -> None:
    """The line that the trainer writes is the one that is read here (they never import each other)."""
    terminal = pytest.importorskip("neuron_trainer.metrics.terminal")
    history = pytest.importorskip("neuron_trainer.metrics.history")
    parts = terminal._parts(history.StepMetrics(7, 2.34567, 1.5e-5, 0.25, 8, 1234567.0, 0.0, mfu=0.31))
    shown = curves.from_log([f"step 7/240  {terminal._GAP.join(parts.values())}"], "tiny-0-0")
    assert {curve.label: curve.values[0] for curve in shown.curves} == {
        "loss": 2.3457, "learning rate": 1.5e-5, "gradient norm": 0.25, "tokens per second": 1234567.0,
    }  # fmt: skip


def test_the_launcher_is_asked_first_and_the_log_after_it() -> None:
    whole = Curves(origin="metrics.jsonl of the run", steps=(1,), curves=(Curve(label="loss", values=(1.0,)),))
    answer = whole.model_dump_json(by_alias=True).encode()
    assert read(WithCurves(answer, LOG)) == whole
    for history in (None, b"404", Curves().model_dump_json().encode(), MayNotError("you may not get pods/proxy")):
        assert read(WithCurves(history, LOG)).origin == "log of pod tiny-0-0"


def test_without_either_the_reason_is_named() -> None:
    refused = read(WithCurves(MayNotError("you may not get pods/proxy"), MayNotError("you may not get pods/log")))
    assert refused.steps == ()
    assert refused.origin.endswith("you may not get pods/proxy you may not get pods/log")
    assert curves.read(as_connection(WithCurves()), recorded("created")[0].job).origin.startswith("No pod")


def test_the_plan_of_a_job_on_the_cluster_is_rows() -> None:
    job = recorded("running")[0].job
    facts = dict(plan.job_rows(job.metadata.name, job.spec))
    assert facts["processes"].startswith("4 = ")
    assert len(facts["config hash"]) == 64
