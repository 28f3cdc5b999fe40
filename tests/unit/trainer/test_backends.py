"""The registry of backends: what each one has to have, and that a second one needs a package and a line."""

import ast
import inspect
import json
from pathlib import Path
from typing import Any

import pytest

import neuron_trainer
import toy_backend
from neuron_api import contract
from neuron_trainer import parallel
from neuron_trainer.errors import InputError
from neuron_trainer.ipc.worker_channel import Start
from neuron_trainer.parallel import BackendProvider, ParallelBackend, registry
from neuron_trainer.preflight import preflight

from .conftest import alone, train, typed

pytestmark = pytest.mark.slow

ROOT = Path(neuron_trainer.__file__).parent
STEPS = 4


def operations(protocol: type) -> set[str]:
    return {name for name, value in vars(protocol).items() if inspect.isfunction(value) and not name.startswith("_")}


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> str:
    """The line of a second backend, before the one that takes every run."""
    monkeypatch.setattr(registry, "PACKAGES", {"toy": toy_backend.__name__, **registry.PACKAGES})
    return "toy"


@pytest.mark.parametrize("name", parallel.backends())
def test_every_backend_has_what_is_asked_of_it(name: str) -> None:
    provider = parallel.provider(name)
    provider.preload()
    for operation in operations(BackendProvider):
        wanted = inspect.signature(getattr(BackendProvider, operation)).parameters
        assert len(inspect.signature(getattr(provider, operation)).parameters) == len(wanted) - 1, operation


def test_a_toy_backend_is_chosen_by_what_it_accepts(toy: str, tiny: Path, tmp_path: Path) -> None:
    assert parallel.backends() == (toy, "xla", "native")
    assert parallel.select(typed(alone(tiny, tmp_path, name=toy_backend.NAME)), "cpu") is parallel.provider(toy)
    assert parallel.select(typed(alone(tiny, tmp_path)), "cpu") is parallel.provider("native")


@pytest.mark.usefixtures("one_process", "toy")
def test_a_toy_backend_trains_saves_and_resumes(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    create = toy_backend.create

    def noting(*arguments: Any) -> ParallelBackend:
        made.append(create(*arguments))
        return made[-1]

    monkeypatch.setattr(toy_backend, "create", noting)
    wanted = losses(train(run(tiny, tmp_path / "native", "another name")))
    assert not made
    folder = train(run(tiny, tmp_path / "toy", toy_backend.NAME))
    assert losses(folder) == pytest.approx(wanted, rel=1e-5)
    assert [backend.steps_ended for backend in made] == [STEPS]
    saved = next((folder / contract.CHECKPOINTS_DIR).glob("*step=2-*"))
    resumed = train(run(tiny, tmp_path / "resumed", toy_backend.NAME), Start(1, str(saved)))
    assert losses(resumed) == losses(folder)[2:]
    # A checkpoint is one of the run, not of the backend that wrote it.
    other = train(run(tiny, tmp_path / "other", "another name"), Start(1, str(saved)))
    assert losses(other) == pytest.approx(wanted[2:], rel=1e-5)


def run(tiny: Path, folder: Path, name: str) -> dict[str, Any]:
    params = {"every_n_train_steps": 2, "save_top_k": -1}
    values = alone(tiny, folder, name=name, trainer__max_steps=STEPS, precision={"type": "fp32"})
    values["exp_manager"]["checkpoint_callback_params"] |= params
    return values


def losses(folder: Path) -> list[float]:
    lines = (folder / contract.METRICS_FILE).read_text().splitlines()
    return [line["loss"] for line in map(json.loads, lines) if "loss" in line]


@pytest.mark.usefixtures("toy")
def test_what_a_backend_refuses_is_refused_before_a_start(tiny: Path, tmp_path: Path) -> None:
    values = alone(
        tiny,
        tmp_path,
        name=toy_backend.NAME,
        trainer__devices=2,
        distributed_strategy__tensor_model_parallel_size=2,
    )
    with pytest.raises(InputError) as refused:
        preflight.check(typed(values), 2, tmp_path)
    assert [finding.message for finding in refused.value.findings] == [toy_backend.REFUSED]


def test_only_parallel_knows_how_tensors_are_split() -> None:
    """The import rules keep everybody else from `native`; nothing asks for torch's split tensors either."""
    knowing = {
        path.relative_to(ROOT).parts[0]
        for path in ROOT.rglob("*.py")
        if any(isinstance(node, ast.alias) and node.name == "DTensor" for node in ast.walk(ast.parse(path.read_text())))
    }
    assert knowing == {"parallel"}
