"""The first words that a newcomer types: versions, misspelled commands, usage, narrow terminals.

The kind: a command line that is wrong is answered with one sentence about the wrong word and exit code 2.
"""

import re
import sys
from pathlib import Path

import pytest

from neuron_api import version
from neuron_operator import settings
from neuron_operator.cli.__main__ import main
from neuron_operator.cli.files import table
from neuron_operator.cli.files.documents import from_files
from neuron_operator.cli.files.plan import plan_source
from neuron_operator.cli.files.platform_flags import PlatformFlags
from neuron_operator.kube.errors import UserInputError

CONFIGS = Path(__file__).parents[3] / "tests/data/configs"


@pytest.mark.parametrize("word", ["version", "--version"])
def test_the_plugin_says_its_version(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word]) == 0
    assert capsys.readouterr().out == f"kubectl-neuron {version()}\n"


def test_the_operator_says_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        settings.parse(["--version"])
    assert capsys.readouterr().out == f"neuron-operator {version()}\n"


def test_the_version_is_that_of_the_project() -> None:
    text = (Path(__file__).parents[3] / "pyproject.toml").read_text()
    assert f'version = "{version()}"' in text


@pytest.mark.parametrize(
    ("word", "hint"), [("pla", "did you mean plan?"), ("stauts", "did you mean status?"), ("train", "commands: plan,")]
)
def test_an_unknown_command_is_named(word: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"kubectl neuron: unknown command {word!r}; {hint}")


def test_help_and_no_word_are_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "usage: kubectl neuron" in capsys.readouterr().out
    assert main([]) == 2
    assert "usage: kubectl neuron" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("key", "place"),
    [
        ("lnc", "trainer.lnc"),
        ("lr", "model.optim.lr"),
        ("max_stepz", "trainer.max_steps"),
        ("train.lnc", "trainer.lnc"),
    ],
)
def test_a_key_without_its_section_is_found(key: str, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--explain", key]) == 2
    assert place in capsys.readouterr().err


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_no_line_is_wider_than_the_terminal(columns: int) -> None:
    [source] = from_files([str(CONFIGS / "hf_mixtral_8x7b_config.yaml")])
    text = table.render(plan_source(source, (), PlatformFlags(), None), columns)
    words = re.compile(r"\S{30,}")
    assert [one for one in text.splitlines() if len(one) > columns and not words.search(one)] == []


def test_a_pipe_has_one_line_for_each_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert not sys.stdout.isatty()
    main(["plan", "-f", str(CONFIGS / "hf_mixtral_8x7b_config.yaml")])
    assert max(map(len, capsys.readouterr().out.splitlines())) > 100


CLAIM = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata:\n  name: training\n"


def test_other_objects_in_a_folder_are_named_and_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Found by a new user: the project's own examples could not be planned, since a claim lies among them."""
    (tmp_path / "claim.yaml").write_text(CLAIM)
    (tmp_path / "run.yaml").write_text((CONFIGS / "hf_llama3_8B_config.yaml").read_text())
    [source] = from_files([str(tmp_path)])
    assert source.label == "run"
    assert "skipped: " in (printed := capsys.readouterr().err)
    assert "claim.yaml has no NeuronTrainingJob: it has PersistentVolumeClaim" in printed


@pytest.mark.parametrize("names", [["claim.yaml"], ["claim.yaml", "other.yaml"]])
def test_a_folder_without_a_configuration_is_refused(names: list[str], tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).write_text(CLAIM)
    with pytest.raises(UserInputError, match=r"claim\.yaml has no NeuronTrainingJob"):
        from_files([str(tmp_path)])
    with pytest.raises(UserInputError, match=r"claim\.yaml has no NeuronTrainingJob"):
        from_files([str(tmp_path / "claim.yaml")])


def test_an_unknown_accelerator_is_answered_with_those_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["plan", "-f", "run.yaml", "--accelerator", "tpu"])
    printed = capsys.readouterr().err
    assert "'Neuron'" in printed
    assert "<" not in printed.replace("[-h]", "").split("invalid choice")[1]
    with pytest.raises(SystemExit, match="2"):
        main(["plan", "-f", "run.yaml", "--accelerator", "gpu"])
    assert "there is no 'gpu'; did you mean CUDA?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "kind"), [("train.py", "a Python program"), ("Run.SH", "a shell script"), ("a.ipynb", "a notebook")]
)
def test_a_program_is_named_as_one(name: str, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / name).write_text("import torch\nx = {'a': 1}\n")
    assert main(["plan", "-f", str(tmp_path / name)]) == 2
    assert f"{name} is {kind}, not a configuration. Give the YAML file that it reads" in capsys.readouterr().err


def test_the_exit_code_says_whose_fault_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """2: the command line; 1: the cluster. As `neuron-train` and argparse have it."""
    assert main(["plan", "-f", str(tmp_path / "none.yaml")]) == 2
    assert main(["status", "tiny", "--kubeconfig", str(tmp_path / "none")]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 2
