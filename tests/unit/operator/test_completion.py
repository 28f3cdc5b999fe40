"""`kubectl_complete-neuron`: completions of commands, flags, values and names, in the form that kubectl reads."""

import argparse
from collections.abc import Iterable

import pytest

from neuron_operator.cli import completion
from neuron_operator.cli.__main__ import main as plugin

JOBS = ("tiny", "tuned", "llama")


def jobs(_: argparse.Namespace) -> Iterable[str]:
    return JOBS


@pytest.mark.parametrize(
    ("line", "completions", "directive"),
    [
        ("st", ["status"], 4),
        ("su", ["submit", "suspend"], 4),
        ("why t", ["tiny", "tuned"], 4),
        ("get ", list(JOBS), 4),
        ("status -o j", ["json"], 4),
        ("status --output=y", ["--output=yaml"], 4),
        ("status --wa", ["--watch"], 4),
        ("top --sort-by good", ["goodput"], 4),
        ("plan --instance-type trn2.4", ["trn2.48xlarge"], 4),
        ("plan --explain trainer.max_s", ["trainer.max_steps"], 4),
        ("plan --model-config meta-llama/Llama-3.1-4", ["meta-llama/Llama-3.1-405B"], 0),
        ("plan -f ", [], 0),
        ("submit ", [], 0),
        ("submit a.yaml --dry-run s", ["server"], 4),
        ("no-such ", [], 4),
        ("no-such", [], 4),
    ],
)
def test_the_last_word_is_completed(line: str, completions: list[str], directive: int) -> None:
    found, hint = completion.complete(line.split(" "), jobs)
    assert found[: len(completions)] == completions
    assert bool(found) is bool(completions)
    assert hint == directive


def test_nothing_yet_is_every_command() -> None:
    found, _ = completion.complete([""], jobs)
    assert {"plan", "submit", "list", "top", "status", "version"} <= set(found)


def test_every_command_has_completions_of_its_flags() -> None:
    commands, _ = completion.complete([""], jobs)
    for command in set(commands) - {"version", "help"}:
        assert "--help" in completion.complete([command, "--"], jobs)[0]


def test_a_cluster_that_is_away_has_no_names_and_no_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    assert completion.main(["why", "t"]) == 0
    assert capsys.readouterr() == (":4\n", "")


def test_the_usage_names_every_command_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert plugin(["--help"]) == 0
    usage = capsys.readouterr().out
    commands, _ = completion.complete([""], jobs)
    assert all(f"  {command} " in usage for command in set(commands) - {"version", "help"})
    assert "3 the job that was followed" in usage
