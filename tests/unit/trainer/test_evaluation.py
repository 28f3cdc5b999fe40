"""`neuron-train test`: which batches, and that the loss is the one that transformers has for the same weights."""

import json
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
import transformers

from distributed.tiny import write_rows
from neuron_api.platform.topology import Topology
from neuron_trainer import run_config
from neuron_trainer.__main__ import main
from neuron_trainer.errors import InputError
from neuron_trainer.ipc.phases import Phases
from neuron_trainer.ipc.worker_channel import Start
from neuron_trainer.loop import testing
from neuron_trainer.loop.run import Run
from neuron_trainer.preflight import preflight

from .conftest import alone, typed
from .test_loop import checkpoint_at

pytestmark = [pytest.mark.usefixtures("one_process"), pytest.mark.slow]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """44 rows that were not trained on: five batches of 8 and a rest."""
    folder = tmp_path_factory.mktemp("other") / "data"
    write_rows(folder, rows=108)
    rows: Any = datasets.load_from_disk(str(folder)).select(range(64, 108))
    rows.save_to_disk(str(folder.parent / "test"))
    return folder.parent / "test"


def line_of(values: dict[str, Any], checkpoint: Path, folder: Path) -> dict[str, Any]:
    """The line of a test in this process."""
    config = run_config.for_test(typed(values))
    run = Run.build(
        config, Topology.from_config(config), "hash", torch.device("cpu"), lambda: False, Phases(), is_fresh=False
    )  # fmt: skip
    folder.mkdir(exist_ok=True)
    loss = testing.test(run, Start(0, str(checkpoint), weights_only=config.model.weight_init_only), folder, rank=0)
    (line,) = (folder / run_config.RESULTS_FILE).read_text().splitlines()
    assert json.loads(line)["test_loss"] == loss
    return dict(json.loads(line))


@pytest.fixture(scope="module")
def theirs(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The weights of step 4 in transformers."""
    target = tmp_path_factory.mktemp("theirs") / "model"
    assert main(["checkpoint", "convert", str(checkpoint_at(trained, 4)), str(target), "--to", "hf"]) == 0
    return transformers.LlamaForCausalLM.from_pretrained(target)


@pytest.mark.parametrize(("limit", "batches"), [(1, 1), (3, 3), (0.5, 2), (1.0, 5), (100, 5)])
def test_a_test_is_of_so_many_batches_and_its_loss_is_that_of_transformers(
    limit: float, batches: int, tiny: Path, trained: Path, other: Path, theirs: Any, tmp_path: Path
) -> None:
    values = alone(tiny, tmp_path, data__test_dir=str(other), trainer__limit_test_batches=limit)
    line = line_of(values, checkpoint_at(trained, 4), tmp_path / "log")
    rows: Any = datasets.load_from_disk(str(other)).with_format("torch")
    losses = []
    for start in range(0, 8 * batches, 2):  # micro-batches of 2 weigh equally (B-4)
        ids, labels = rows[start : start + 2]["input_ids"].long(), rows[start : start + 2]["labels"].long()
        with torch.no_grad():
            losses.append(theirs(input_ids=ids, labels=labels).loss)
    assert (line["step"], line["batches"]) == (4, batches)
    assert line["test_loss"] == pytest.approx(torch.stack(losses).mean().item(), rel=1e-5)


def test_the_step_is_the_checkpoints_also_where_a_run_would_take_its_weights_alone(
    tiny: Path, trained: Path, other: Path, tmp_path: Path
) -> None:
    values = alone(
        tiny, tmp_path, data__test_dir=str(other), trainer__limit_test_batches=1, model__weight_init_only=True
    )
    assert line_of(values, checkpoint_at(trained, 4), tmp_path / "log")["step"] == 4


def test_a_test_is_no_run_of_a_tracker(tiny: Path, tmp_path: Path) -> None:
    loggers = {f"exp_manager__{key}": True for key in run_config.LOGGERS}
    manager = run_config.for_test(typed(alone(tiny, tmp_path, **loggers))).exp_manager
    assert not any(getattr(manager, key) for key in run_config.LOGGERS)


@pytest.mark.parametrize(("changes", "says"), [
    ({"trainer__limit_test_batches": 0}, "trainer.limit_test_batches: it is 0: there is nothing to test"),
    ({"data__test_dir": None}, "data.test_dir: it is not set"),
    ({"data__test_dir": "/nowhere"}, "data.test_dir: there is no directory /nowhere"),
])  # fmt: skip
def test_a_test_without_anything_to_test_on_is_refused(
    changes: dict[str, Any], says: str, tiny: Path, other: Path, tmp_path: Path
) -> None:
    given = {"data__test_dir": str(other), "trainer__limit_test_batches": 1.0, "data__train_dir": "/nowhere", **changes}
    config = run_config.for_test(typed(alone(tiny, tmp_path / "log", **given)))
    with pytest.raises(InputError) as raised:
        preflight.check(config, 1, tmp_path / "log", is_test=True)
    assert says in str(raised.value)
    assert "train_dir" not in str(raised.value)
