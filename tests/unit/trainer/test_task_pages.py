"""Pages that need no cluster: every command works, in their order, in one directory; keys shown are the examples'.

Trainings are shortened to a few steps and run in this process; of those with several processes the checks of a start
are made (tests/distributed trains them). `doctor` starts processes of its own: test_doctor.py. A command that several
pages have is run once.
"""

import re
import shlex
import shutil
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from neuron_operator.cli.__main__ import main as kubectl_neuron
from neuron_trainer.__main__ import main as neuron_train
from neuron_trainer.__main__ import parser
from neuron_trainer.ipc.worker_channel import Start
from neuron_trainer.launcher import job_file
from neuron_trainer.launcher.checkpoint_selector import CheckpointSelector
from neuron_trainer.preflight import early, preflight
from neuron_trainer.run_directory.log_dir import log_dir
from neuron_trainer.run_directory.resume import EarlierRuns
from page_blocks import ROOT, all_blocks, blocks

from .conftest import train

pytestmark = pytest.mark.slow

FIRST: Final = ("README.md", *(f"docs/tasks/{name}.md" for name in
                ("tune-with-lora", "align-with-preferences", "serve-the-result")))  # fmt: skip
"""A page may use what an earlier one has made."""
STEPS: Final = 3
PROGRAMS: Final = {"neuron-train": neuron_train, "kubectl-neuron": kubectl_neuron}
INSTALL: Final = ("make venv", "make docs")
"""This environment is the first; the second has a lock of its own."""


def commands() -> list[str]:
    """Distinct commands, those of the first pages first."""
    laptop = [block for block in all_blocks() if block.is_commands and not block.mark]
    laptop.sort(key=lambda block: FIRST.index(block.page) if block.page in FIRST else len(FIRST))
    return list(dict.fromkeys(line for block in laptop for line in block.commands() if line not in INSTALL))


def test_the_pages_have_commands_of_both_programs_alone() -> None:
    assert len(commands()) > 30
    assert [one for one in commands() if words(one)[0] not in PROGRAMS] == []


def words(command: str) -> list[str]:
    """The words as a shell gives them; kubectl finds its plugin by its name."""
    text = re.sub(r"^kubectl neuron\b", "kubectl-neuron", command.removeprefix(".venv/bin/"))
    return [
        path for word in shlex.split(text) for path in (sorted(map(str, Path().glob(word))) if "*" in word else [word])
    ]


@pytest.mark.usefixtures("one_process")
def test_every_command_works_in_the_order_of_the_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")  # tokens are kept beside the records
    for name in ("README.md", "docs", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    for command in commands():
        arguments, _, file = " ".join(map(shlex.quote, words(command))).partition(" '>' ")
        program, *rest = shlex.split(arguments)
        if program == "neuron-train" and rest[0] == "run":
            run(rest)
        elif rest[0] != "doctor":
            assert PROGRAMS[program](rest) == 0, (command, capsys.readouterr().err)
        if file:
            Path(file).write_text(capsys.readouterr().out)
    assert capsys.readouterr().out


def run(arguments: list[str]) -> None:
    """A few steps of a configuration, after the checks of a start."""
    chosen = parser().parse_args(arguments)
    steps = [f"trainer.max_steps={STEPS}", "model.optim.sched.warmup_steps=1"]
    loaded = job_file.load(Path(chosen.config).read_bytes(), chosen.config, [*chosen.overrides, *steps], None)
    assert loaded.config is not None, loaded.findings
    processes = loaded.config.trainer.devices
    early.check(loaded.config, processes, EarlierRuns(), is_test=False)
    preflight.check(loaded.config, processes, Path("laptop-runs"))
    choice = CheckpointSelector(loaded.config, log_dir(loaded.config), "").choose()
    if processes == 1:
        train(loaded.resolved, Start(0, choice.checkpoint, choice.weights_only))


def test_keys_that_a_page_shows_are_those_of_its_example() -> None:
    example = yaml.safe_load((ROOT / "examples" / "sft-lora.yaml").read_text())
    page = ROOT / "docs" / "tasks" / "tune-with-lora.md"
    shown = [yaml.safe_load(block.text) for block in blocks(page) if block.language == "yaml"]
    assert shown
    assert all(is_part(one, example) for one in shown)


def is_part(value: Any, whole: Any) -> bool:
    if not isinstance(value, dict):
        return bool(value == whole)
    return all(key in whole and is_part(item, whole[key]) for key, item in value.items())
