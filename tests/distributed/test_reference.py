"""The pass of DPO's reference on several processes: killed, resumed, and taken up by another split."""

import json
import os
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuron_api import contract
from neuron_trainer.run_directory.log_dir import REFERENCE_FOLDER
from pairs import LENGTH, RECORDED

from . import ranks
from .ranks import GLOO_TIMEOUT
from .tiny import config

pytestmark = [pytest.mark.distributed, pytest.mark.usefixtures("backend")]

STEPS = 5
SPLITS: Mapping[str, tuple[int, dict[str, Any]]] = {
    "one process": (1, {}),
    "data 2, zero1": (2, {"zero1": True}),
    "pipeline 2": (2, {"pipeline_model_parallel_size": 2}),
    "tensor 2, sequence": (2, {"tensor_model_parallel_size": 2, "sequence_parallel": True}),
    "context 2": (2, {"context_parallel_size": 2}),
}
NUMBERS = ("loss", "gradient_norm", "chosen_rewards", "rejected_rewards", "rewards_margin", "rewards_accuracy")


def job(folder: Path, split: str = "one process", *, precompute: bool = True, **changes: Any) -> dict[str, Any]:
    world, strategy = SPLITS[split]
    own = {
        "trainer__devices": world, "trainer__num_nodes": 1, "trainer__max_steps": STEPS,
        "data__train_dir": str(RECORDED / "pairs.jsonl"), "data__seq_length": LENGTH, "data__global_batch_size": 4,
        "data__tokenizer": {"type": str(RECORDED / "tokenizer")}, "data__micro_batch_size": 1,
        "data__index_mapping_dir": str(folder.parent / "index"),
        "model__model_config": str(RECORDED / "weights/config.json"), "model__encoder_seq_length": LENGTH,
        "model__fusions": {"ring_attention": split == "context 2"},
        "distributed_strategy": {"zero1": False, **strategy},
        "exp_manager__checkpoint_callback_params__every_n_train_steps": 2,
        "exp_manager__checkpoint_callback_params__save_top_k": -1,
        "model_alignment_strategy": {
            "dpo": {"kl_beta": 0.1, "max_prompt_length": 32, "precompute_ref_log_probs": precompute}
        },
    }  # fmt: skip
    return config(folder, folder, **{**own, **changes})


def lines(folder: Path) -> dict[int, tuple[float, ...]]:
    found = [json.loads(line) for line in (folder / contract.METRICS_FILE).read_text().splitlines()]
    return {line["step"]: tuple(line[name] for name in NUMBERS) for line in found}


def table(folder: Path) -> Any:
    return np.load(folder / REFERENCE_FOLDER / "train.npy")


def saved(folder: Path, step: int) -> Path:
    (path,) = (folder / contract.CHECKPOINTS_DIR).glob(f"*step={step}-*")
    return path


@pytest.fixture(scope="module")
def base(backend: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every split with a table, and with a frozen copy; and, from the middle of one process, with and without table."""
    base = tmp_path_factory.mktemp("reference")
    ranks.train(1, [job(base / "one process"), job(base / "frozen one process", precompute=False)])
    middle = saved(base / "one process", 2)
    for split in SPLITS:
        shutil.copytree(base / "one process" / REFERENCE_FOLDER, base / f"resumed {split}" / REFERENCE_FOLDER)
    jobs = {split: [
        job(base / split, split), job(base / f"frozen {split}", split, precompute=False),
        job(base / f"resumed {split}", split), job(base / f"lost {split}", split),
        job(base / f"resumed frozen {split}", split, precompute=False),
    ] for split in SPLITS if split != "one process"}  # fmt: skip
    every = [one for some in jobs.values() for one in some]
    ranks.train(2, every, [None, None, middle, middle, middle] * len(jobs))
    return base


KINDS = ("", "frozen ", "resumed ", "lost ", "resumed frozen ")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind or "table")
@pytest.mark.parametrize("split", [split for split in SPLITS if split != "one process"])
def test_numbers_are_those_of_one_process(split: str, kind: str, base: Path) -> None:
    """Also of a run that goes on from one process's checkpoint, with its table, without it, and with a frozen copy."""
    expected = lines(base / "one process")
    own = lines(base / f"{kind}{split}")
    assert list(own) == list(range(1 if kind in ("", "frozen ") else 3, STEPS + 1))
    for step, values in own.items():
        assert values == pytest.approx(expected[step], rel=1e-5, abs=1e-5), step
    if kind in ("", "lost "):
        assert table(base / f"{kind}{split}") == pytest.approx(table(base / "one process"), abs=1e-4)
    if kind == "resumed ":
        assert table(base / f"{kind}{split}").tobytes() == table(base / "one process").tobytes()


def _killed_rank(rank: int, world: int, store: str, values: dict[str, Any], writes: int) -> None:
    """A rank of a run that is killed when rank 0 has written so many batches of the table."""
    import torch.distributed as dist

    from neuron_trainer.run_directory.reference_table import ReferenceTable

    plain, count = ReferenceTable.write, [0]

    def write(self: ReferenceTable, first: int, rows: Any) -> None:
        plain(self, first, rows)
        count[0] += 1
        if count[0] == writes:
            os.kill(os.getpid(), signal.SIGKILL)

    ReferenceTable.write = write  # type: ignore[method-assign]
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", f"file://{store}", rank=rank, world_size=world, timeout=GLOO_TIMEOUT)
    ranks._train(rank, world, values, None)


def test_a_run_whose_processes_are_killed_in_the_pass_is_the_unbroken_one(base: Path, tmp_path: Path) -> None:
    values = job(tmp_path / "killed", "data 2, zero1")
    with pytest.raises(AssertionError, match="ranks ended with"):
        ranks.run(_killed_rank, 2, str(tmp_path / "store"), values, 2)
    rows = tmp_path / "killed" / REFERENCE_FOLDER / ".train.rows"
    assert rows.stat().st_size == 2 * 4 * 16, "two batches of four pairs"
    ranks.train(2, [values])
    assert lines(tmp_path / "killed") == lines(base / "data 2, zero1")
    assert table(tmp_path / "killed").tobytes() == table(base / "data 2, zero1").tobytes()
