"""Processes that die while a checkpoint is being written cost that checkpoint and nothing else."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from neuron_api import contract
from neuron_api.contract import ExitCode

from . import test_reference
from .nodes import Gang, Launcher, is_alive, is_stopped, numbers, until, workers
from .tiny import config, write_config

pytestmark = pytest.mark.distributed

STEPS = 14
EVERY = 2


def _incomplete(checkpoints: Path) -> Path | None:
    """A checkpoint that has a shard, and no marker yet; not the first one."""
    found = sorted(checkpoints.glob("*.ckpt"), key=lambda path: path.stat().st_mtime_ns)
    if len(found) < 2 or (found[-1] / contract.CHECKPOINT_MARKER).exists() or not any(found[-1].glob("*.distcp")):
        return None
    return found[-1]


def _freeze_in_a_save(launcher: Launcher, checkpoints: Path) -> Path | None:
    """Stop the ranks where they are; let them go on when the checkpoint was finished in that moment."""
    try:
        caught = _incomplete(checkpoints)
    except FileNotFoundError:  # one is being removed
        return None
    if caught is None:
        return None
    ranks = workers(launcher)
    for pid in ranks:
        os.kill(pid, signal.SIGSTOP)
    until("the ranks to stand still", lambda: all(map(is_stopped, ranks)))
    if not (caught / contract.CHECKPOINT_MARKER).exists():
        return caught
    for pid in ranks:
        os.kill(pid, signal.SIGCONT)
    return None


def _values(method: str, tiny: Path, log_dir: Path) -> dict[str, Any]:
    """A job of two ranks that saves every other step."""
    own = {
        "trainer__num_nodes": 1, "trainer__max_steps": STEPS,
        "exp_manager__checkpoint_callback_params__every_n_train_steps": EVERY,
    }  # fmt: skip
    if method == "pretraining":
        return config(tiny, log_dir, **own)
    values = test_reference.job(log_dir, "data 2, zero1", **own)
    if method == "dpo with lora":
        values["model_alignment_strategy"]["peft"] = {
            "lora_rank": 4, "lora_dropout": 0.1, "target_modules": ["qkv_proj", "o_proj"], "save_lora_base": True,
        }  # fmt: skip
    return values


@pytest.mark.parametrize("method", ["pretraining", "dpo with lora"])
def test_a_start_after_a_killed_save_resumes_from_the_checkpoint_before(
    method: str, tiny: Path, tmp_path: Path
) -> None:
    log_dir, checkpoints = tmp_path / "log", tmp_path / "log" / contract.CHECKPOINTS_DIR
    values = _values(method, tiny, log_dir)
    with Gang(tmp_path, write_config(tmp_path / "config.yaml", values), num_nodes=1) as gang:
        first = gang.start(0)
        half = until("a half-written checkpoint", lambda: _freeze_in_a_save(first, checkpoints), gang=gang, pause=0.002)
        ranks = workers(first)
        first.kill()
        until("the ranks to die with their launcher", lambda: not any(map(is_alive, ranks)))
        before, step = numbers(log_dir), len(numbers(log_dir))
        assert f"step={step}-" in half.name

        second = gang.start(0)
        assert second.wait() == ExitCode.SUCCESS, gang.logs()
        assert f"training resumes at step {step - EVERY} from" in second.log.read_text(), gang.logs()
        after = numbers(log_dir)
        assert list(after) == list(range(1, STEPS + 1))
        assert {number: after[number] for number in before} == before, "the steps done again are the same, bit for bit"
        assert all((path / contract.CHECKPOINT_MARKER).exists() for path in checkpoints.iterdir())
