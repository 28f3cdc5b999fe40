"""docs/hardware-checklist.md: every command of it is one that the programs take, and its configurations are legal."""

import re
import shlex
from pathlib import Path
from typing import Final

import pytest

from neuron_api.findings.finding import errors_of
from neuron_api.loading.loader import load_text
from neuron_api.platform.topology import Topology
from neuron_api.schema import support
from neuron_operator.cli.__main__ import main as kubectl_neuron
from neuron_trainer.__main__ import parser

ROOT: Final = Path(__file__).parents[3]
PAGE: Final = (ROOT / "docs" / "hardware-checklist.md").read_text()
COMMANDS: Final = [
    line for block in re.findall(r"^```\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL) for line in block.splitlines()
]
TRAINER: Final = [shlex.split(line)[1:] for line in COMMANDS if line.startswith("neuron-train ")]
OPERATOR: Final = [shlex.split(line)[2:] for line in COMMANDS if line.startswith("kubectl neuron ")]
RUNS: Final = [arguments for arguments in TRAINER if arguments[0] == "run"]


def test_the_page_has_commands_of_both_programs_alone() -> None:
    assert [line for line in COMMANDS if not line.startswith(("neuron-train ", "kubectl "))] == []
    assert len(RUNS) == 15


@pytest.mark.parametrize("arguments", TRAINER, ids=" ".join)
def test_a_command_is_one_that_the_program_takes(arguments: list[str]) -> None:
    assert parser().parse_args(arguments).command == arguments[0]


@pytest.mark.parametrize("arguments", RUNS, ids=" ".join)
def test_a_run_is_legal_and_divides_its_processes(arguments: list[str]) -> None:
    chosen = parser().parse_args(arguments)
    loaded = load_text((ROOT / chosen.config).read_text(), chosen.overrides)
    assert loaded.config is not None, loaded.errors
    assert errors_of((*loaded.findings, *support.check(loaded.config, loaded.findings))) == ()
    topology = Topology.from_config(loaded.config)
    assert topology.micro_batches
    assert topology.world_size == loaded.config.trainer.devices


def test_the_job_of_two_nodes_is_accepted_with_its_changes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    plan, submit, status = OPERATOR
    assert kubectl_neuron(plan) == 0
    shown = capsys.readouterr().out
    assert "warnings (" not in shown, shown
    for words in ("128 = tensor 8", "16 Neuron devices, 16 EFA interfaces", "20, 20480 samples", "every 5 steps"):
        assert words in shown
    assert plan[2:] == submit[1:-1], "what was planned is submitted"
    assert kubectl_neuron([*submit, "--dry-run=client", "--output=name"]) == 0
    assert capsys.readouterr().out.strip().endswith(f"/{status[1]}")


def test_each_item_says_what_must_be_seen_and_what_it_proves() -> None:
    items = re.findall(r"^(\d+)\. \*\*(.*?)(?=^\d+\. \*\*|^```|^## )", PAGE, re.MULTILINE | re.DOTALL)
    assert [int(number) for number, _ in items] == list(range(1, 17))
    for number, text in items:
        assert "Must be seen:" in text, number
        assert re.search(r"\(\d+ minutes\)", text), number
        assert re.search(r"\*[A-Z]", text.partition("Must be seen:")[2]), number
    assert sum(map(int, re.findall(r"\((\d+) minutes\)", PAGE.partition("## On Trn1")[0]))) <= 65
