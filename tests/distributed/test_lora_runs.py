"""Runs that train adapters: killed and started again, stored merged, and gone on with another split."""

from pathlib import Path
from typing import Any, Final

import pytest

import lora_oracles as oracles
from neuron_api import contract
from neuron_api.contract import ExitCode

from . import saved
from .nodes import Gang, kill_worker, last_step, metrics, numbers, until
from .ranks import train
from .tiny import write_config

pytestmark = [
    pytest.mark.distributed,
    pytest.mark.filterwarnings("ignore:torch.distributed is disabled:UserWarning"),
]

CASE = "qv_bias_all"
STEPS: Final = 6
SAVED: Final = 3
TARGETS = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj", "embed_tokens", "lm_head"]
PEFT = {
    "target_modules": TARGETS, "lora_bias": "none",  # noise of a key's bias is made large by Adam
    "save_lora_base": True, "merge_lora": True, "merge_sharded_lora": True,
}  # fmt: skip
SPLITS: Final[dict[str, tuple[int, dict[str, Any]]]] = {
    "one process": (1, {}),
    "tensor 2, sequence": (2, {"tensor_model_parallel_size": 2, "sequence_parallel": True}),
    "pipeline 2": (2, {"pipeline_model_parallel_size": 2}),
    "data 2, zero1": (2, {"zero1": True}),
}
ONE: Final = "one process"


def values(folder: Path, log: Path, split: str = ONE, **changes: Any) -> dict[str, Any]:
    """The records of an oracle, one in a micro-batch; the base is drawn from the seed."""
    world, strategy = SPLITS[split]
    section = {**oracles.peft(oracles.case(CASE)["settings"]), **PEFT, **changes.pop("peft", {})}
    result = oracles.values(
        folder, CASE, log, **{
            "trainer__max_steps": STEPS, "trainer__devices": world, "data__micro_batch_size": 1,
            "model__optim__eps": 1e-2,  # gradients of some keys are rounding alone, which Adam makes large
            "exp_manager__checkpoint_callback_params__every_n_train_steps": SAVED,
            "exp_manager__checkpoint_callback_params__filename": "{step}",
            "exp_manager__checkpoint_callback_params__save_top_k": -1,
            "model_alignment_strategy": {"sft": {}, "peft": section}, **changes,
        },
    )  # fmt: skip
    result["distributed_strategy"] |= strategy
    return result


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each split to the end; then each goes on from the other's checkpoint, one process from all, all from it."""
    folder = tmp_path_factory.mktemp("lora")
    for world in (1, 2):
        train(world, [values(folder, folder / split, split) for split in SPLITS if SPLITS[split][0] == world])
    from_one = saved.checkpoint(folder / ONE, SAVED)
    others = [split for split in SPLITS if split != ONE]
    train(2, [values(folder, folder / f"to {split}", split) for split in others], [from_one] * len(others))
    sources = [saved.checkpoint(folder / split, SAVED) for split in others]
    train(1, [values(folder, folder / f"from {split}") for split in others], sources)
    return folder


@pytest.mark.parametrize("split", [split for split in SPLITS if split != ONE])
def test_merged_weights_adapters_and_state_are_those_of_one_process(split: str, runs: Path) -> None:
    saved.assert_equal(saved.checkpoint(runs / split, STEPS), saved.checkpoint(runs / ONE, STEPS))
    names = {path.name for path in saved.checkpoint(runs / split, STEPS).iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors"} <= names


@pytest.mark.parametrize("split", [split for split in SPLITS if split != ONE])
@pytest.mark.parametrize("way", ["to", "from"])
def test_another_split_goes_on_with_the_same_losses(way: str, split: str, runs: Path) -> None:
    wanted, found = numbers(runs / ONE), numbers(runs / f"{way} {split}")
    assert list(found) == list(range(SAVED + 1, STEPS + 1))
    for step, (loss, lr, norm, samples) in found.items():
        assert loss == pytest.approx(wanted[step][0], rel=1e-5)
        assert norm == pytest.approx(wanted[step][2], rel=1e-4)
        assert (lr, samples) == (wanted[step][1], wanted[step][3])


def test_a_killed_run_equals_the_unbroken_one(tmp_path: Path) -> None:
    """The base is a directory of transformers, the adapters are those of the newest checkpoint."""
    source = oracles.base(tmp_path, oracles.case(CASE)["settings"])
    changes = {
        "exp_manager__resume_from_checkpoint": str(source), "trainer__max_steps": 14,
        "peft": {"lora_bias": "all", "save_lora_base": False, "merge_lora": False, "lora_dropout": 0.1},
    }  # fmt: skip
    logs = []
    for name, is_killed in (("unbroken", False), ("killed", True)):
        folder = tmp_path / name
        folder.mkdir()
        logs.append(folder / "log")
        config = write_config(folder / "config.yaml", values(tmp_path, folder / "log", "data 2, zero1", **changes))
        with Gang(folder, config, num_nodes=1) as gang:
            launcher = gang.start(0)
            if is_killed:
                until("a step after the first checkpoint", lambda: last_step(logs[1]) >= SAVED + 1 or None, gang=gang)
                kill_worker(launcher)
            assert launcher.wait() == ExitCode.SUCCESS, gang.logs()
            assert "LoRA trains" in gang.logs()
    assert [line["step"] for line in metrics(logs[1])] == list(range(1, 15))
    assert numbers(logs[1]) == numbers(logs[0])
    assert (logs[1] / contract.CHECKPOINTS_DIR).is_dir()


KINDS: Final = ("mixed_precision", "mixed_precisionSR", "bf16SR", "autocast")


@pytest.fixture(scope="module")
def precise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three steps of each type of precision, in each split; gradients in buckets of a mebibyte."""
    folder = tmp_path_factory.mktemp("precise")
    for world in (1, 2):
        splits = [split for split in SPLITS if SPLITS[split][0] == world]
        jobs = [(kind, split) for kind in KINDS for split in splits]
        train(world, [
            values(
                folder, folder / f"{kind} {split}", split, precision={"type": kind}, trainer__max_steps=3,
                bucket_size_collectives=1, exp_manager__create_checkpoint_callback=False,
            )
            for kind, split in jobs
        ])  # fmt: skip
    return folder


@pytest.mark.parametrize("split", [split for split in SPLITS if split != ONE])
@pytest.mark.parametrize("kind", KINDS)
def test_every_precision_trains_adapters_as_on_one_process(kind: str, split: str, precise: Path) -> None:
    wanted, found = numbers(precise / f"{kind} {ONE}"), numbers(precise / f"{kind} {split}")
    assert list(found) == [1, 2, 3]
    for step, (loss, _, norm, _) in found.items():
        assert loss == pytest.approx(wanted[step][0], rel=1e-2)
        assert norm == pytest.approx(wanted[step][2], rel=5e-2)
