"""A run goes on with another split: its next losses are those of the split that it had."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from neuron_api import contract

from .nodes import numbers
from .ranks import train
from .tiny import config

pytestmark = [pytest.mark.distributed, pytest.mark.usefixtures("backend")]

STEPS, SAVED = 6, 3


@dataclass(frozen=True, slots=True)
class Split:
    """How a run is divided."""

    world: int
    tensor: int = 1
    pipeline: int = 1
    zero1: bool = True

    @property
    def name(self) -> str:
        return f"tp{self.tensor}-pp{self.pipeline}-dp{self.world // self.tensor // self.pipeline}-zero1{self.zero1:d}"

    def values(self, tiny: Path, log: Path, is_async: bool) -> dict[str, Any]:
        return config(
            tiny, log, trainer__devices=self.world, trainer__num_nodes=1, trainer__max_steps=STEPS,
            distributed_strategy__tensor_model_parallel_size=self.tensor,
            distributed_strategy__pipeline_model_parallel_size=self.pipeline,
            distributed_strategy__sequence_parallel=self.tensor > 1, distributed_strategy__zero1=self.zero1,
            exp_manager__async_checkpointing=is_async,
            exp_manager__checkpoint_callback_params__save_top_k=-1,
            exp_manager__checkpoint_callback_params__every_n_train_steps=SAVED,
        )  # fmt: skip


ONE: Final = Split(1)
TENSOR, PIPELINE, DATA = Split(2, tensor=2), Split(2, pipeline=2), Split(2)
PAIRS: Final = [
    (TENSOR, ONE),
    (PIPELINE, ONE),
    (DATA, Split(2, zero1=False)),
    (Split(2, zero1=False), DATA),
    (DATA, Split(4)),
    (TENSOR, Split(4, tensor=4)),
    (TENSOR, PIPELINE),
]


def _log(folder: Path, before: Split, after: Split | None = None) -> Path:
    return folder / (before.name if after is None else f"{before.name}-to-{after.name}")


@pytest.fixture(scope="module")
def runs(backend: str, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each split to the end, and each pair from the first one's checkpoint; written in the background on every rank."""
    folder = tmp_path_factory.mktemp("splits")
    sources = list(dict.fromkeys(before for before, _ in PAIRS))
    train(2, [split.values(tiny, _log(folder, split), is_async=True) for split in sources])
    for world in (1, 2, 4):
        pairs = [(before, after) for before, after in PAIRS if after.world == world]
        found = [
            next((_log(folder, before) / contract.CHECKPOINTS_DIR).glob(f"*step={SAVED}-*")) for before, _ in pairs
        ]
        train(
            world, [after.values(tiny, _log(folder, before, after), is_async=False) for before, after in pairs], found
        )
    return folder


@pytest.mark.parametrize(("before", "after"), PAIRS, ids=lambda split: split.name)
def test_the_next_losses_are_those_of_the_split_before(before: Split, after: Split, runs: Path) -> None:
    wanted, found = numbers(_log(runs, before)), numbers(_log(runs, before, after))
    assert list(found) == list(range(SAVED + 1, STEPS + 1))
    for step, (loss, lr, norm, samples) in found.items():
        assert loss == pytest.approx(wanted[step][0], rel=1e-5)
        assert norm == pytest.approx(wanted[step][2], rel=1e-4)
        assert (lr, samples) == (wanted[step][1], wanted[step][3])
