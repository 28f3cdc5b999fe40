"""The files of examples/ work as the README there says; a newcomer starts with them.

Looked at: every configuration is planned without an error; the one for a laptop trains on a text of this repository,
with its own sizes, and those for fine-tuning on the records beside it, with the tokenizer of the first.
"""

import shutil
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from neuron_api.config import TrainingConfig
from neuron_api.findings.finding import errors_of
from neuron_api.loading.loader import load_text
from neuron_api.schema import support
from neuron_operator.cli.__main__ import main as kubectl_neuron
from neuron_trainer.__main__ import main
from neuron_trainer.metrics import history
from neuron_trainer.preflight import early, preflight
from neuron_trainer.run_directory.resume import EarlierRuns

from .conftest import train

pytestmark = pytest.mark.slow

ROOT: Final = Path(__file__).parents[3]
EXAMPLES: Final = ROOT / "examples"
TRAINABLE: Final = [path for path in sorted(EXAMPLES.glob("*.yaml")) if path.name != "claim.yaml"]


@pytest.mark.parametrize("path", TRAINABLE, ids=lambda path: path.stem)
def test_an_example_is_planned_without_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert kubectl_neuron(["plan", "-f", str(path), "--accelerator", "cpu"]) == 0


LAPTOP: Final = ("laptop", "sft", "sft-lora", "dpo-lora", "orpo")


@pytest.mark.parametrize("name", LAPTOP)
def test_an_example_for_a_laptop_has_no_warning_and_computes_in_fp32(name: str) -> None:
    loaded = load_text((EXAMPLES / f"{name}.yaml").read_text())
    assert loaded.config is not None
    assert loaded.config.precision.type == "fp32"
    assert loaded.config.exp_manager.resume_ignore_no_checkpoint, "the first start needs it"
    assert errors_of((*loaded.findings, *support.check(loaded.config))) == ()
    assert [str(one) for one in loaded.findings if one.severity != "note"] == []


def test_the_readme_names_every_file_that_is_there() -> None:
    text = (EXAMPLES / "README.md").read_text()
    files = [path.name for path in EXAMPLES.iterdir() if path.is_file() and path.name != "README.md"]
    assert [name for name in files if f"]({name})" not in text] == []


def values(name: str, **changes: Any) -> dict[str, Any]:
    """The file's, with the steps of a test."""
    tree: dict[str, Any] = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())
    tree["trainer"] |= {"max_steps": 6}
    tree["model"]["optim"]["sched"] |= {"max_steps": 6, "warmup_steps": 2}
    tree["data"] |= changes
    return tree


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of the README, with this repository's own text."""
    folder = tmp_path_factory.mktemp("laptop")
    texts = [str(ROOT / "README.md"), *map(str, sorted((ROOT / "docs").glob("*.md")))]
    assert main(["data", "prepare", "--input", *texts, "--output", str(folder / "laptop-data"),
                 "--seq-length", "128", "--vocab-size", "2048"]) == 0  # fmt: skip
    shutil.copytree(EXAMPLES, folder / "examples")  # tokens are kept beside the records
    return folder


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("name", LAPTOP)
def test_an_example_for_a_laptop_trains(name: str, prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(prepared)
    chosen = values(name)
    chosen["exp_manager"].pop("resume_from_checkpoint", None)
    loaded = load_text(yaml.safe_dump(chosen))
    assert isinstance(loaded.config, TrainingConfig)
    early.check(loaded.config, 1, EarlierRuns(), is_test=False)
    preflight.check(loaded.config, 1, prepared / "laptop-runs")
    steps = history.open_history(train(chosen)).history().steps
    assert [one.step for one in steps] == [1, 2, 3, 4, 5, 6]
    assert steps[-1].loss < steps[0].loss
