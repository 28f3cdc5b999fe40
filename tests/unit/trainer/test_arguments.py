"""The arguments of `neuron-train`: overrides stand where a user writes them, and what is no argument is refused."""

import pytest

from neuron_trainer.__main__ import main
from neuron_trainer.launcher import start


@pytest.mark.parametrize("words", [
    "job.yaml a=1 ~b +c=2 --accelerator cpu", "job.yaml --accelerator cpu a=1 ~b +c=2",
    "--accelerator cpu job.yaml a=1 ~b +c=2", "job.yaml a=1 --accelerator cpu ~b +c=2",
])  # fmt: skip
@pytest.mark.parametrize("command", ["run", "test"])
def test_overrides_stand_before_and_after_options(command: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "main", lambda config, overrides, **named: (config, overrides, named["accelerator"]))
    assert main([command, *words.split()]) == ("job.yaml", ["a=1", "~b", "+c=2"], "cpu")


@pytest.mark.parametrize(("words", "wrong"), [
    ("run job.yaml a=1 --fast", "--fast"), ("run job.yaml --fast a=1", "--fast"), ("plot run --fast a=1", "--fast"),
])  # fmt: skip
def test_an_unknown_option_is_named_and_no_override(words: str, wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(words.split())
    assert end.value.code == 2
    assert f"unrecognized arguments: {wrong}" in capsys.readouterr().err
