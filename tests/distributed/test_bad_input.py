"""What only shows while training: a sentence with rank, step and key, and every process ends in time."""

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset, load_from_disk

from . import ranks
from .ranks import GLOO_TIMEOUT
from .tiny import config

pytestmark = [pytest.mark.distributed, pytest.mark.usefixtures("backend")]

WORLD = 4


def _nan_rank(rank: int, world: int, folder: Path, values: dict[str, Any]) -> None:
    """A rank of a run in which rank 2 computes a loss of nan in step 3."""
    import torch.distributed as dist

    from neuron_trainer import parallel
    from neuron_trainer.errors import DivergenceError
    from neuron_trainer.parallel import Outcome

    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=world, timeout=GLOO_TIMEOUT)
    create, steps = parallel.create, []

    def create_broken(*arguments: Any) -> Any:
        backend: Any = create(*arguments)
        accumulate = backend.accumulate

        def broken(batch: Any) -> Outcome:
            steps.append(batch)
            outcome: Outcome = accumulate(batch)
            is_broken = rank == 2 and len(steps) == 3
            return outcome._replace(loss=outcome.loss * math.nan) if is_broken else outcome

        backend.accumulate = broken
        return backend

    parallel.create = create_broken
    try:
        ranks._train(rank, world, values, None)
    except DivergenceError as problem:
        (folder / f"{rank}.txt").write_text(f"{len(steps)} {problem}")
    dist.destroy_process_group()


@pytest.mark.parametrize("depth", [0, 3])
def test_a_loss_of_nan_on_one_rank_ends_all_of_them(depth: int, tiny: Path, tmp_path: Path) -> None:
    values = config(
        tiny, tmp_path / "log", trainer__devices=WORLD, trainer__num_nodes=1,
        exp_manager__checkpoint_callback_params__every_n_train_steps=4,
    )  # fmt: skip
    ranks.run(_nan_rank, WORLD, tmp_path, {**values, "aync_exec_max_inflight_requests": depth})
    for rank in range(WORLD):
        done, said = (tmp_path / f"{rank}.txt").read_text().split(" ", 1)
        assert said.startswith(f"rank {rank}, step 3: the loss is nan, from rank 2. No checkpoint of this step"), said
        assert "model.optim.lr" in said
        assert "samples 16 to 23" in said
        assert int(done) == (3 if depth == 0 else 4), "not later than the checkpoint of step 4"
    assert not list((tmp_path / "log").glob("checkpoints/*")), "nothing of it was saved"


def _token_rank(rank: int, world: int, folder: Path, values: dict[str, Any]) -> None:
    """What a rank says in the end."""
    import torch.distributed as dist

    from neuron_trainer.errors import TokenError
    from neuron_trainer.ipc.process_group import is_peer_loss

    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=world, timeout=GLOO_TIMEOUT)
    try:
        ranks._train(rank, world, values, None)
    except TokenError as problem:
        (folder / f"{rank}.txt").write_text(str(problem))
    except Exception as problem:
        assert is_peer_loss(problem, "cpu")
        (folder / f"{rank}.txt").write_text("lost its peers")


def test_a_token_that_the_model_does_not_have_ends_a_run_in_a_sentence(tiny: Path, tmp_path: Path) -> None:
    """In a row that the look before the start passes over; split over two processes it would be taken for nothing."""
    columns = {name: np.array(column) for name, column in load_from_disk(str(tiny / "data")).to_dict().items()}
    columns["input_ids"][21, 5] = 96
    Dataset.from_dict(columns).save_to_disk(str(tmp_path / "data"))
    values = config(
        tiny, tmp_path / "log", trainer__devices=WORLD, trainer__num_nodes=1, data__train_dir=str(tmp_path / "data")
    )
    ranks.run(_token_rank, WORLD, tmp_path, values)
    said = [(tmp_path / f"{rank}.txt").read_text() for rank in range(WORLD)]
    assert said[:2] == ["lost its peers"] * 2, "row 21 is of the second replica"
    for rank in (2, 3):
        assert said[rank] == (
            f"rank {rank}, step 3: data.train_dir: sample 21 has token 96 at place 5; the model's vocabulary is 96. "
            "Use the tokenizer that belongs to the model."
        )
