"""A run in this process with copies in memory: what it resumes from, and what is written when it is asked to stop."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bounds import BOUND
from neuron_trainer.checkpoint import complete, verify
from neuron_trainer.checkpoint.memory.agreement import MemoryTier
from neuron_trainer.checkpoint.memory.copies import steps_of
from neuron_trainer.checkpoint.memory.slot import CopyIdentity
from neuron_trainer.ipc.worker_channel import Start
from neuron_trainer.loop.step import Gradients
from neuron_trainer.metrics.history import open_history

from .conftest import alone, train

STEPS = 9
AT = 6
"""Step in which the run is lost."""


class Lost(Exception):
    """Stands for the end of the process."""


def _values(tiny: Path, folder: Path, **changes: Any) -> dict[str, Any]:
    rarely = {"exp_manager__checkpoint_callback_params__every_n_train_steps": 1000, "trainer__max_steps": STEPS}
    return alone(tiny, folder / "log", **{**rarely, **changes})


def _tier(folder: Path, every: int = 1) -> MemoryTier:
    place = folder / "memory"
    place.mkdir(exist_ok=True)
    return MemoryTier(place, CopyIdentity("", "hash", "", 0, 1, 1, "cpu"), every)


def _in_step(monkeypatch: pytest.MonkeyPatch, number: int, act: Callable[[], None]) -> None:
    """Call `act` when the gradients of a step are to be computed."""
    plain, done = Gradients.compute, [0]

    def compute(self: Gradients, batch: Any) -> Any:
        done[0] += 1
        if done[0] == number:
            act()
        return plain(self, batch)

    monkeypatch.setattr(Gradients, "compute", compute)


def _lose() -> None:
    raise Lost


def _losses(folder: Path) -> list[float]:
    return [line.loss for line in open_history(folder / "log").history().steps]


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"precision__type": "mixed_precision"}, {"model__optim__name": "adafactor"}])
def test_a_run_resumes_from_its_copy_bit_for_bit(
    tiny: Path, tmp_path: Path, one_process: None, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    (tmp_path / "other").mkdir()
    train(_values(tiny, tmp_path / "other", **changes))
    with monkeypatch.context() as patch, pytest.raises(Lost):
        _in_step(patch, AT, _lose)
        train(_values(tiny, tmp_path, **changes), memory=_tier(tmp_path, every=2))
    tier = _tier(tmp_path, every=2)
    assert steps_of(tier.folder, tier.identity) == [2, 4]
    train(_values(tiny, tmp_path, **changes), Start(1, memory_step=4), memory=tier)
    assert _losses(tmp_path) == _losses(tmp_path / "other")
    assert [start.source for start in open_history(tmp_path / "log").history().starts] == [None, "Memory"]
    assert complete(tmp_path / "log" / "checkpoints")[0].step == STEPS


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"precision__type": "mixed_precision"}])
def test_a_copy_is_in_storage_before_the_step_that_goes_on_has_ended(
    tiny: Path, tmp_path: Path, one_process: None, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    """The run is asked to stop in a step, and killed in it: its grace is too short."""
    (tmp_path / "other").mkdir()
    train(_values(tiny, tmp_path / "other", **changes))
    asked, places = [False], tmp_path / "log" / "checkpoints"

    def stop() -> None:
        asked[0] = True
        deadline = time.monotonic() + BOUND
        while not complete(places):
            assert time.monotonic() < deadline, "the copy did not reach storage"
            time.sleep(0.02)
        raise Lost

    with monkeypatch.context() as patch, pytest.raises(Lost):
        _in_step(patch, AT, stop)
        train(_values(tiny, tmp_path, **changes), wants_stop=lambda: asked[0], memory=_tier(tmp_path))
    (checkpoint,) = complete(places)
    assert checkpoint.step == AT - 1
    assert checkpoint.path.name.endswith("-memory.ckpt")
    verify(checkpoint.path)
    train(_values(tiny, tmp_path, **changes), Start(1, str(checkpoint.path)))
    assert _losses(tmp_path) == _losses(tmp_path / "other")


@pytest.mark.slow
def test_a_stop_with_time_to_save_leaves_the_newest_step(tiny: Path, tmp_path: Path, one_process: None) -> None:
    train(_values(tiny, tmp_path), wants_stop=lambda: True, memory=_tier(tmp_path))
    assert complete(tmp_path / "log" / "checkpoints")[0].step == 1
