"""Four real processes, one of which is slow: it is named, and nobody else, without a collective more in a step."""

import logging
import time
from pathlib import Path
from typing import Any

import pytest

from neuron_trainer.parallel import hosts

from . import ranks
from .devices import CPU
from .tiny import config

pytestmark = pytest.mark.distributed

SLOW_RANK = 2
SLOW_FROM = 24
"""Steps in which all are equally fast."""


def _slow_down() -> None:
    """From a step on, gradients take three times as long: so many times, however busy the machine is."""
    from neuron_trainer.parallel.native.backend import NativeBackend

    accumulate, steps = NativeBackend.accumulate, iter(range(1_000_000))

    def slow(self: Any, batch: Any) -> Any:
        begun, waited = time.monotonic(), hosts.waited.seconds
        outcome = accumulate(self, batch)
        own = time.monotonic() - begun - (hosts.waited.seconds - waited)
        if next(steps) >= SLOW_FROM:
            time.sleep(max(0.02, 2 * own))
        return outcome

    NativeBackend.accumulate = slow  # type: ignore[method-assign]


def _rank(rank: int, world: int, store: str, values: dict[str, Any], log: str) -> None:
    if rank == SLOW_RANK:
        _slow_down()
    with CPU.group(rank, world, store) as device, ranks.groups_of_one_run(device):
        if rank == 0:
            logging.getLogger("neuron_trainer").addHandler(logging.FileHandler(log))
        ranks._train(rank, world, values, None, device)


def test_a_slow_rank_is_named(tiny: Path, tmp_path: Path) -> None:
    values = config(
        tiny, tmp_path / "log", trainer__max_steps=SLOW_FROM + 45,
        exp_manager__checkpoint_callback_params__every_n_train_steps=1000,
    )  # fmt: skip
    ranks.run(_rank, 4, str(tmp_path / "store"), values, str(tmp_path / "rank-0.log"))
    slow = [line for line in (tmp_path / "rank-0.log").read_text().splitlines() if "slow" in line]
    assert len(slow) == 1, slow
    assert f"rank {SLOW_RANK} on node 1 is slow" in slow[0]
    assert "its own work" in slow[0]
    assert int(slow[0].removeprefix("step ").partition(":")[0]) > SLOW_FROM
