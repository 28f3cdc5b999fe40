"""docs/tasks: every command of the pages works, in their order, in one directory; the keys shown are the examples'.

Trainings are shortened to a few steps and run in this process; everything else is what the page says.
"""

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from neuron_api.loading.loader import load_text
from neuron_operator.cli.__main__ import main as kubectl_neuron
from neuron_trainer.__main__ import main as neuron_train
from neuron_trainer.ipc.worker_channel import Start
from neuron_trainer.launcher.checkpoint_selector import CheckpointSelector
from neuron_trainer.preflight import early, preflight
from neuron_trainer.run_directory.log_dir import log_dir
from neuron_trainer.run_directory.resume import EarlierRuns

from .conftest import train

ROOT: Final = Path(__file__).parents[3]
PAGES: Final = [ROOT / "docs" / "tasks" / f"{name}.md" for name in
                ("tune-with-lora", "align-with-preferences", "serve-the-result")]  # fmt: skip
STEPS: Final = 3


def blocks(page: Path, language: str = "") -> Iterator[str]:
    """Texts of fenced blocks."""
    for name, text in re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
        if name == language:
            yield text


def commands() -> list[str]:
    return [line for page in PAGES for block in blocks(page) for line in block.splitlines()]


def test_the_pages_have_commands_of_both_programs_alone() -> None:
    assert len(commands()) > 10
    assert [
        one for one in commands() if not one.startswith((".venv/bin/neuron-train ", ".venv/bin/kubectl-neuron "))
    ] == []


@pytest.mark.usefixtures("one_process")
def test_every_command_works_in_the_order_of_the_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")  # tokens are kept beside the records
    for name in ("README.md", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    for command in commands():
        program, *arguments = expanded(command)
        if program.endswith("kubectl-neuron"):
            assert kubectl_neuron(arguments) == 0, command
        elif arguments[0] == "run":
            run(arguments[1])
        else:
            assert neuron_train(arguments) == 0, (command, capsys.readouterr().err)
    assert capsys.readouterr().out


def expanded(command: str) -> list[str]:
    """The words as a shell gives them."""
    words = shlex.split(command)
    return [path for word in words for path in (sorted(map(str, Path().glob(word))) if "*" in word else [word])]


def run(file: str) -> None:
    """A few steps of a configuration, after the checks of a start."""
    loaded = load_text(Path(file).read_text(), [f"trainer.max_steps={STEPS}", "model.optim.sched.warmup_steps=1"])
    assert loaded.config is not None
    early.check(loaded.config, 1, EarlierRuns(), is_test=False)
    preflight.check(loaded.config, 1, Path("laptop-runs"))
    choice = CheckpointSelector(loaded.config, log_dir(loaded.config), "").choose()
    train(loaded.resolved, Start(0, choice.checkpoint, choice.weights_only))


def test_keys_that_a_page_shows_are_those_of_its_example() -> None:
    example = yaml.safe_load((ROOT / "examples" / "sft-lora.yaml").read_text())
    shown = [yaml.safe_load(block) for block in blocks(PAGES[0], "yaml")]
    assert shown
    assert all(is_part(one, example) for one in shown)


def is_part(value: Any, whole: Any) -> bool:
    if not isinstance(value, dict):
        return bool(value == whole)
    return all(key in whole and is_part(item, whole[key]) for key, item in value.items())
