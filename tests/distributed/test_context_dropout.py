"""Dropout in attention along a ring: masks are those of the seed, also where they are drawn again."""

import json
from pathlib import Path
from typing import Any

import pytest

from . import ranks, saved
from .nodes import numbers
from .tiny import MODEL, config

pytestmark = [pytest.mark.distributed, pytest.mark.usefixtures("backend")]

STEPS = 6
RUNS: dict[str, dict[str, Any]] = {
    "unbroken": {},
    "recompute full": {"model__activations_checkpoint_granularity": "full"},
    "recompute CoreAttention": {"model__activations_checkpoint_granularity": "selective"},
    "resumed": {},
    "another seed": {"seed": 8},
}


@pytest.fixture(scope="module")
def logs(backend: str, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Log directories of context parallel 2 by name; the resumed one begins after half of the steps."""
    base = tmp_path_factory.mktemp("context-dropout")
    (base / "model.json").write_text(json.dumps({**MODEL, "attention_dropout": 0.3}))
    values = {name: _config(tiny, base, name, changes) for name, changes in RUNS.items()}
    resumed = values.pop("resumed")
    ranks.train(2, list(values.values()))
    ranks.train(2, [resumed], [saved.checkpoint(base / "unbroken", STEPS // 2)])
    return {name: base / name.replace(" ", "-") for name in RUNS}


def _config(tiny: Path, base: Path, name: str, changes: dict[str, Any]) -> dict[str, Any]:
    often = {"every_n_train_steps": STEPS // 2, "save_top_k": -1, "filename": "{step}"}
    return config(
        tiny, base / name.replace(" ", "-"), trainer__devices=2, trainer__num_nodes=1, trainer__max_steps=STEPS,
        distributed_strategy={"context_parallel_size": 2, "zero1": True}, model__fusions={"ring_attention": True},
        model__model_config=str(base / "model.json"), exp_manager__checkpoint_callback_params=often, **changes,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["recompute full", "recompute CoreAttention", "resumed"])
def test_masks_that_are_drawn_again_are_the_same(name: str, logs: dict[str, Path]) -> None:
    wanted, found = numbers(logs["unbroken"]), numbers(logs[name])
    assert len(found) == (STEPS // 2 if name == "resumed" else STEPS)
    assert found == {step: wanted[step] for step in found}


def test_another_seed_is_another_run(logs: dict[str, Path]) -> None:
    assert numbers(logs["another seed"]) != numbers(logs["unbroken"])
