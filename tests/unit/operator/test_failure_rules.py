"""Where the failure table comes from: the built-in one, a file, a file that changes while the operator runs."""

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from neuron_operator.__main__ import main
from neuron_operator.failure_rules import FILE, FailureRules, built_in
from neuron_operator.monitoring.metrics import TableMetrics
from neuron_operator.planning.failures.failure_table import TableError

ROOT = Path(__file__).parents[3]
GOOD = "version: 1\nrevision: ours\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "table.yaml"
    file.write_text(GOOD)
    return file


def test_without_a_file_the_built_in_table_is_used_and_it_is_the_charts() -> None:
    assert FailureRules()() is built_in()
    chart = ROOT / "helm" / "neuron-training-operator" / "files" / FILE
    assert chart.read_bytes() == (ROOT / "operator" / "src" / "neuron_operator" / FILE).read_bytes()


def test_a_file_takes_the_place_of_the_built_in_table(path: Path) -> None:
    assert FailureRules(str(path))().revision == "ours"


@pytest.mark.parametrize("content", ["version: 7", "", None])
def test_an_operator_without_any_good_table_does_not_start_and_says_why(
    path: Path, content: str | None, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    with pytest.raises(TableError, match=str(path)):
        FailureRules(str(path))
    assert main(["--failure-table", str(path)]) == 1
    said = capsys.readouterr().err + caplog.text
    assert str(path) in said
    assert "leave out --failure-table" in said


def test_a_change_is_taken_up(path: Path) -> None:
    rules = FailureRules(str(path))
    path.write_text("version: 1\nrevision: newer\n")
    rules.look()
    assert (rules().revision, rules.is_valid) == ("newer", True)


def test_a_wrong_change_leaves_the_last_good_table_in_use_and_is_said_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rules, registry = FailureRules(str(path)), CollectorRegistry()
    registry.register(TableMetrics(rules))
    path.write_text("version: 1\nfailures: [{name: x}]\n")
    rules.look()
    rules.look()
    assert rules().revision == "ours"
    (said,) = [one.getMessage() for one in caplog.records if one.levelname == "ERROR"]
    assert "failures[0] (x).cause: field required." in said
    assert "revision ours stays in use" in said
    assert registry.get_sample_value("neuron_operator_failure_table_valid") == 0
    assert registry.get_sample_value("neuron_operator_failure_table_info", {"revision": "ours"}) == 1
    path.unlink()
    rules.look()
    path.write_text(GOOD)
    rules.look()
    assert registry.get_sample_value("neuron_operator_failure_table_valid") == 1
