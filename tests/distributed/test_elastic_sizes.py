"""A run goes on with 4, 3, 2 and again 4 nodes, as launchers of an elastic job do: the losses are those of the unbroken
run, and each sample is used once."""

import shutil
from pathlib import Path

import pytest

from neuron_api import contract

from .nodes import Gang, metrics, numbers
from .ranks import train
from .tiny import config, write_config

pytestmark = pytest.mark.distributed

BATCH = 12
"""Of 4, 3 and 2 data-parallel processes each has 3, 4 and 6 samples of it."""
PARTS = ((4, 3), (3, 6), (2, 8), (4, 10))
"""Nodes, and the step after which the next part begins."""
LOST = 6
"""The checkpoint of this step is lost with a node: steps 5 and 6 are done again, by other processes."""


def _config(tiny: Path, log: Path, steps: int, nodes: int) -> dict[str, object]:
    return config(
        tiny, log, trainer__devices=1, trainer__num_nodes=nodes, trainer__max_steps=steps,
        data__global_batch_size=BATCH, data__micro_batch_size=1,
        distributed_strategy__tensor_model_parallel_size=1, distributed_strategy__sequence_parallel=False,
        exp_manager__checkpoint_callback_params__every_n_train_steps=2,
        exp_manager__checkpoint_callback_params__save_top_k=-1,
    )  # fmt: skip


@pytest.fixture(scope="module")
def unbroken(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[float, ...]]:
    """One process, never interrupted."""
    log = tmp_path_factory.mktemp("unbroken") / "log"
    train(1, [_config(tiny, log, PARTS[-1][1], 1)])
    return numbers(log)


def test_losses_are_those_of_the_unbroken_run_with_any_legal_number_of_nodes(
    tiny: Path, tmp_path: Path, unbroken: dict[int, tuple[float, ...]]
) -> None:
    """The file says 4 nodes all the time, as the ConfigMap of a job does."""
    log = tmp_path / "log"
    for nodes, steps in PARTS:
        file = write_config(tmp_path / "config.yaml", _config(tiny, log, steps, 4))
        with Gang(tmp_path, file, num_nodes=nodes) as gang:
            launchers = gang.start_all()
            assert [launcher.wait() for launcher in launchers] == [0] * nodes, gang.logs()
            said = launchers[0].log.read_text()
        assert (f"trainer.num_nodes: 4 -> {nodes}" in said) == (nodes == 3), said
        if steps == LOST:
            (lost,) = (log / contract.CHECKPOINTS_DIR).glob(f"*step={LOST}-*")
            shutil.rmtree(lost)
    found = numbers(log)
    assert list(found) == list(unbroken)
    assert [line["consumed_samples"] for line in metrics(log)] == [BATCH * step for step in found]
    for step, (loss, lr, norm, samples) in found.items():
        assert loss == pytest.approx(unbroken[step][0], rel=1e-5)
        assert norm == pytest.approx(unbroken[step][2], rel=1e-4)
        assert (lr, samples) == (unbroken[step][1], unbroken[step][3])
