"""Numbers of steps are read late, in order, all before a checkpoint; a loss that is none is always found."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from neuron_api import contract
from neuron_trainer.checkpoint import complete
from neuron_trainer.errors import DivergenceError
from neuron_trainer.metrics import step_results
from neuron_trainer.metrics.step_results import Pending, Results, StepResult, StepSums

from .conftest import alone, train, typed

pytestmark = [pytest.mark.usefixtures("one_process"), pytest.mark.slow]

CPU, DEVICE = torch.device("cpu"), torch.device("meta")


def pending(step: int, loss: float = 1.0, norm: float = 2.0) -> Pending:
    sums = StepSums(*(torch.tensor(value, dtype=torch.float64) for value in (loss, norm, loss)))
    return Pending(step, sums, lr=0.1, consumed_samples=8 * step, tokens_per_second=5.0, time=6.0)


class Read(list[int]):
    """Steps as they are read."""

    def __init__(self, queue: Results) -> None:
        super().__init__()
        queue.on_read = lambda result: self.append(result.step)


def test_a_failure_that_the_device_has_kept_back_is_no_divergence() -> None:
    """What nothing has written may read as a loss that is not finite, and the remedy of that would mislead."""
    failed: list[str] = []

    def check() -> None:
        if failed:
            raise RuntimeError(failed[0])

    results = Results(0, 8, check=check)
    results.add(pending(1))
    failed.append("NRT EXECUTION FAILED")
    with pytest.raises(RuntimeError, match="NRT EXECUTION FAILED"):
        results.add(pending(2, loss=math.nan))


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_so_many_steps_are_unread_and_no_more(depth: int) -> None:
    queue = Results(depth, 8)
    read = Read(queue)
    for step in range(1, 8):
        queue.add(pending(step))
        assert read == list(range(1, step - depth + 1))
    newest = queue.read_all()
    assert read == list(range(1, 8))
    assert newest == StepResult(7, 1.0, 2.0, 0.1, 56, 5.0, 6.0, None)


def test_no_step_counts_that_the_device_has_failed_in() -> None:
    """TorchNeuron reaches the event of a step that failed, and its numbers are whatever was there."""
    failed: list[int] = []

    def check() -> None:
        if failed:
            raise RuntimeError("NRT Execution error occurred on Neuron")

    queue = Results(1, 8, check=check)
    read = Read(queue)
    for step in range(1, 5):
        queue.add(pending(step))
    failed.append(5)
    for step in range(5, 11):
        queue.add(pending(step))
    with pytest.raises(RuntimeError, match="NRT Execution error"):
        queue.add(pending(11))
    assert read == list(range(1, 10))
    first = Results(0, 8, check=check)
    with pytest.raises(RuntimeError, match="NRT Execution error"):
        first.add(pending(12))


@pytest.mark.parametrize("key", ["aync_exec_max_inflight_requests", "async_exec_max_inflight_requests"])
@pytest.mark.parametrize("device", [CPU, DEVICE])
def test_the_depth_is_the_configured_one_in_both_spellings(
    key: str, device: torch.device, tiny: Path, tmp_path: Path
) -> None:
    values = alone(tiny, tmp_path)
    for depth in (0, 5):
        assert step_results.depth(typed({**values, key: depth}), device) == depth
    assert step_results.depth(typed(values), device) == (0 if device == CPU else 1)


def test_a_loss_that_is_none_is_found_when_it_is_read_and_said_in_a_sentence() -> None:
    queue = Results(2, 8)
    queue.add(pending(1))
    queue.add(pending(2, loss=math.nan))
    queue.add(pending(3))
    with pytest.raises(DivergenceError) as told:
        queue.add(pending(4))
    assert str(told.value) == (  # one sentence and the remedies
        "rank 0, step 2: the loss is nan, from rank 0. No checkpoint of this step is written. Lower model.optim.lr, "
        "set trainer.gradient_clip_val, or look at samples 8 to 15 of the data."
    )


def test_a_checkpoint_asks_for_all_steps_and_for_gradients_too() -> None:
    queue = Results(3, 8)
    read = Read(queue)
    queue.add(pending(1))
    queue.add(pending(2, norm=math.inf))
    queue.add(pending(3))
    assert read == []
    with pytest.raises(DivergenceError, match="step 2: the norm of the gradient is not finite"):
        queue.before_checkpoint()
    assert read == [1, 2, 3], "they are logged and counted all the same"
    assert queue.nonfinite_norms == 1


def lines(folder: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / contract.METRICS_FILE).read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("time", "tokens_per_second")} for line in found]


@pytest.mark.parametrize("depth", [1, 4, 50])
def test_what_is_logged_does_not_depend_on_the_depth(depth: int, tiny: Path, tmp_path: Path, trained: Path) -> None:
    values = alone(tiny, tmp_path, trainer__max_steps=6, exp_manager__checkpoint_callback_params__every_n_train_steps=4)
    folder = train({**values, "aync_exec_max_inflight_requests": depth})
    assert lines(folder) == lines(trained)


def test_parameter_norms_are_read_late_too(tiny: Path, tmp_path: Path) -> None:
    found = []
    for depth in (0, 3):
        values = alone(
            tiny, tmp_path / str(depth), trainer__max_steps=5, exp_manager__log_parameter_norm=True,
            exp_manager__create_checkpoint_callback=False,
        )  # fmt: skip
        found.append(lines(train({**values, "aync_exec_max_inflight_requests": depth})))
    assert found[0] == found[1]
    assert all(line["parameter_norm"] > 0 for line in found[0])


@pytest.mark.parametrize("depth", [0, 3])
def test_no_checkpoint_has_weights_of_a_loss_that_is_none(depth: int, tiny: Path, tmp_path: Path) -> None:
    """A rate that is far too high: the loss is nan after some steps, and each step is to be saved."""
    values = alone(
        tiny, tmp_path, trainer__max_steps=20, trainer__gradient_clip_val=None,
        exp_manager__checkpoint_callback_params__every_n_train_steps=1,
        exp_manager__checkpoint_callback_params__save_top_k=-1,
    )  # fmt: skip
    values["model"]["optim"] = {"name": "sgd", "lr": 1e18, "sched": {"name": "WarmupPolicy", "max_steps": 99}}
    with pytest.raises(DivergenceError, match=r"not finite|the loss is nan"):
        train({**values, "aync_exec_max_inflight_requests": depth})
    saved = complete(tmp_path / contract.CHECKPOINTS_DIR)
    for one in saved:
        assert math.isfinite(one.manifest.metrics["reduced_train_loss"])
    assert max((one.step for one in saved), default=0) < 20
