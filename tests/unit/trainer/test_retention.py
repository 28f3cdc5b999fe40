"""Which checkpoints go once a new one is complete."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuron_api.config import CheckpointCallbackParams
from neuron_trainer.checkpoint import layout
from neuron_trainer.checkpoint.catalog import BrokenCheckpoint
from neuron_trainer.checkpoint.retention import apply, move_aside, surplus

from .test_resume import candidate


def gone(losses: dict[int, float], newest: int, **params: Any) -> set[int]:
    """Steps that are deleted, of checkpoints with these losses."""
    candidates = [candidate(step, loss=loss) for step, loss in losses.items()]
    path = next(c.path for c in candidates if c.step == newest)
    return {c.step for c in surplus(candidates, path, CheckpointCallbackParams(**params))}


LOSSES = {10: 3.0, 20: 1.0, 30: 2.0, 40: 4.0}


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"save_top_k": -1}, set()),
        ({"save_top_k": 4}, set()),
        ({"save_top_k": 2}, {10, 20}),
        ({"save_top_k": 1}, {10, 20, 30}),
        ({"save_top_k": 2, "monitor": None}, {10, 20}),
        ({"save_top_k": 2, "monitor": "loss", "mode": "min"}, {10}),  # 40 is the worst and the newest: it stays
        ({"save_top_k": 2, "monitor": "loss", "mode": "max"}, {20, 30}),
        ({"save_top_k": 3, "monitor": "absent", "mode": "min"}, {10}),
    ],
)
def test_the_best_and_the_newest_stay(params: dict[str, Any], expected: set[int]) -> None:
    assert gone(LOSSES, newest=40, **params) == expected


def test_the_last_copy_is_not_counted() -> None:
    last = candidate(40)
    copy = type(last)(layout.last_of(last.path), last.manifest)
    found = surplus([copy, last, candidate(30)], last.path, CheckpointCallbackParams(save_top_k=2))
    assert found == []


@given(
    losses=st.dictionaries(st.integers(1, 99), st.floats(-9, 9), min_size=1, max_size=8),
    keep=st.integers(-1, 5),
    mode=st.sampled_from(["min", "max"]),
    monitor=st.sampled_from(["loss", "step", None]),
)
def test_the_newest_always_stays_and_as_many_as_asked(
    losses: dict[int, float], keep: int, mode: str, monitor: str | None
) -> None:
    newest = max(losses)
    deleted = gone(losses, newest, save_top_k=keep, mode=mode, monitor=monitor)
    kept = set(losses) - deleted
    if keep == -1:
        assert kept == set(losses)
    elif keep > 0:
        assert newest in kept
        assert min(keep, len(losses)) <= len(kept) <= keep + 1


def test_what_a_killed_save_left_goes_with_the_next_one(tmp_path: Path) -> None:
    half = tmp_path / "x--step=3.ckpt"
    half.mkdir()
    (half / "__0_0.distcp").write_text("half")
    assert apply(tmp_path, tmp_path / "x--step=4.ckpt", CheckpointCallbackParams(save_top_k=-1)) == [half]
    assert not half.exists()


def test_of_what_killed_saves_left_the_newest_is_moved_aside_and_what_is_gone_meanwhile_is_no_fault(
    tmp_path: Path,
) -> None:
    """Another program deletes there, too: the start ended with `FileNotFoundError`."""
    halves = [tmp_path / f"x--step={step}.ckpt" for step in (3, 4, 5)]
    for number, half in enumerate(halves[:2]):
        half.mkdir()
        os.utime(half, (number, number))
    move_aside(tmp_path, [BrokenCheckpoint(half, "it has no marker", was_complete=False) for half in halves])
    assert [path.name for path in tmp_path.iterdir()] == ["x--step=4.ckpt.cut-off"]
