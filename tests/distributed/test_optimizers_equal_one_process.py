"""Every optimizer: weights and state after some steps are those of one process, however the run is split.

Checkpoints are read as whole tensors, so what is compared has also gone through the placements of the state.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from neuron_api.config.optimizers import OPTIMIZERS as SPECS

from . import ranks, saved
from .nodes import numbers
from .tiny import config
from .variants import OPTIMIZERS

pytestmark = [
    pytest.mark.distributed,
    pytest.mark.usefixtures("backend"),
    pytest.mark.filterwarnings("ignore:torch.distributed is disabled:UserWarning"),
]

STEPS = 6
WHOLE = ("novograd", "novograd, luc", "adafactor", "adafactor, relative")
"""Those with statistics over whole parameters."""
ONE = (1, 1, False)
SPLITS: dict[str, tuple[tuple[int, int, bool], Sequence[str]]] = {
    "tensor 2": ((2, 2, False), tuple(OPTIMIZERS)),
    "data 2, zero1": ((2, 1, True), tuple(OPTIMIZERS)),
    "data 2": ((2, 1, False), WHOLE),
    "2 x 2, zero1": ((4, 2, True), WHOLE),
}
"""Processes, tensor-parallel size and zero1; what is trained so."""
CASES = [(split, name) for split, (_, names) in SPLITS.items() for name in names]
RESHARDED = ("novograd", "adafactor, relative")
"""Saved by 2 x 2 processes with zero1 after half of the steps, gone on with by one."""


@pytest.fixture(scope="module")
def logs(backend: str, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """Log directories by split and optimizer."""
    base = tmp_path_factory.mktemp("optimizers")
    runs = {("one process", name): ONE for name in OPTIMIZERS} | {(s, name): SPLITS[s][0] for s, name in CASES}
    folders = {key: base / f"{number}" for number, key in enumerate(runs)}
    for world in (4, 2, 1):
        chosen = [key for key, split in runs.items() if split[0] == world]
        ranks.train(world, [_config(tiny, folders[key], key[1], *runs[key]) for key in chosen])
    again = {("resharded", name): base / f"resharded-{number}" for number, name in enumerate(RESHARDED)}
    halves = [saved.checkpoint(folders["2 x 2, zero1", name], STEPS // 2) for name in RESHARDED]
    ranks.train(1, [_config(tiny, folder, key[1], *ONE) for key, folder in again.items()], halves)
    return folders | again


def _config(tiny: Path, folder: Path, name: str, world: int, tensor: int, zero1: bool) -> dict[str, Any]:
    values = config(
        tiny,
        folder,
        trainer__devices=world,
        trainer__num_nodes=1,
        trainer__max_steps=STEPS,
        trainer__gradient_clip_val=0.5,
        exp_manager__checkpoint_callback_params={
            "every_n_train_steps": STEPS // 2, "save_top_k": 2, "filename": "{step}",
        },
        distributed_strategy__tensor_model_parallel_size=tensor,
        distributed_strategy__zero1=zero1,
        distributed_strategy__sequence_parallel=world == 4,
    )  # fmt: skip
    sched = {"name": "CosineAnnealing", "warmup_steps": 2, "max_steps": 20, "min_lr": 1e-4}
    values["model"]["optim"] = {"lr": 3e-3, **OPTIMIZERS[name], "sched": sched}
    return values


def _assert_equal(found: Path, wanted: Path) -> None:
    saved.assert_equal(saved.checkpoint(found, STEPS), saved.checkpoint(wanted, STEPS))


@pytest.mark.parametrize(("split", "name"), CASES)
def test_a_split_changes_nothing(split: str, name: str, logs: dict[tuple[str, str], Path]) -> None:
    wanted, found = numbers(logs["one process", name]), numbers(logs[split, name])
    assert list(found) == list(wanted) == list(range(1, STEPS + 1))
    for step, values in wanted.items():
        assert found[step] == pytest.approx(values, rel=1e-5), f"step {step}"
    _assert_equal(logs[split, name], logs["one process", name])


@pytest.mark.parametrize("name", RESHARDED)
def test_a_checkpoint_goes_on_in_another_split(name: str, logs: dict[tuple[str, str], Path]) -> None:
    assert list(numbers(logs["resharded", name])) == list(range(STEPS // 2 + 1, STEPS + 1))
    _assert_equal(logs["resharded", name], logs["one process", name])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_comparison_is_of_weights_that_move(name: str, logs: dict[tuple[str, str], Path]) -> None:
    first, last = (saved.tensors(saved.checkpoint(logs["one process", name], step)) for step in (STEPS // 2, STEPS))
    moved = [(last[key] - first[key]).abs().max() / first[key].abs().max() for key in first if key.startswith("model.")]
    assert min(moved) > 1e-3
    assert all(torch.isfinite(tensor).all() for tensor in last.values())


def test_every_optimizer_is_compared() -> None:
    assert {values["name"] for values in OPTIMIZERS.values()} == set(SPECS)
