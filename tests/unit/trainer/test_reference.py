"""The reference of DPO in the loop: the model that the run began with, whatever is interrupted, resumed or shuffled."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from neuron_api import contract
from neuron_trainer.ipc.worker_channel import Start
from neuron_trainer.run_directory.log_dir import REFERENCE_FOLDER
from neuron_trainer.run_directory.reference_table import ReferenceTable
from pairs import LENGTH, RECORDED

from .conftest import alone, train

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_process")]

STEPS = 6


def job(folder: Path, **changes: Any) -> dict[str, Any]:
    """DPO of the recorded pairs: 16 of them, in batches of 4."""
    dpo = {"dpo": {"kl_beta": 0.1, "max_prompt_length": 32}}
    own = {
        "trainer__max_steps": STEPS, "data__global_batch_size": 4, "model_alignment_strategy": dpo,
        "data__train_dir": str(RECORDED / "pairs.jsonl"), "data__seq_length": LENGTH,
        "data__tokenizer": {"type": str(RECORDED / "tokenizer")}, "data__index_mapping_dir": str(folder / "index"),
        "model__model_config": str(RECORDED / "weights/config.json"), "model__encoder_seq_length": LENGTH,
        "exp_manager__checkpoint_callback_params__every_n_train_steps": 2,
        "exp_manager__checkpoint_callback_params__save_top_k": -1,
    }  # fmt: skip
    return alone(folder, folder, **{**own, **changes})


def lines(folder: Path) -> dict[int, Any]:
    """All but time and speed, by step; the last line of a step counts."""
    found = [json.loads(line) for line in (folder / contract.METRICS_FILE).read_text().splitlines()]
    names = {"loss", "gradient_norm", "chosen_rewards", "rejected_rewards", "rewards_margin", "rewards_accuracy"}
    return {line["step"]: {name: line[name] for name in names} for line in found}


def table(folder: Path) -> Any:
    return np.load(folder / REFERENCE_FOLDER / "train.npy")


def newest(folder: Path, step: int) -> Start:
    (saved,) = (folder / contract.CHECKPOINTS_DIR).glob(f"*step={step}-*")
    return Start(1, str(saved))


@pytest.fixture(scope="module")
def unbroken(one_process: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(job(tmp_path_factory.mktemp("unbroken")))


class Killed(Exception):
    """As a signal would end it."""


def kill_after(writes: int, monkeypatch: pytest.MonkeyPatch, name: str = "write") -> None:
    """The process ends when it has written so many batches of the table."""
    plain, count = getattr(ReferenceTable, name), [0]

    def write(self: ReferenceTable, *arguments: Any) -> Any:
        if count[0] == writes:
            raise Killed
        count[0] += 1
        return plain(self, *arguments)

    monkeypatch.setattr(ReferenceTable, name, write)


def test_the_first_step_is_ln_2_and_no_pair_is_right(unbroken: Path) -> None:
    first = lines(unbroken)[1]
    assert first["loss"] == pytest.approx(0.693147, abs=1e-6)
    assert first["rewards_accuracy"] == 0.0
    assert lines(unbroken)[STEPS]["loss"] < 0.69
    assert table(unbroken).shape == (16, 2)


@pytest.mark.parametrize("writes", [0, 1, 3])
def test_a_run_that_is_killed_in_the_pass_gives_the_numbers_of_the_unbroken_one(
    writes: int, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        kill_after(writes, patch)
        with pytest.raises(Killed):
            train(job(tmp_path))
    assert not (tmp_path / REFERENCE_FOLDER / "train.npy").exists()
    computed: list[int] = []
    plain = ReferenceTable.write
    monkeypatch.setattr(
        ReferenceTable, "write", lambda self, first, rows: (computed.append(first), plain(self, first, rows))
    )
    train(job(tmp_path))
    assert computed == list(range(4 * writes, 16, 4)), "what was there is not computed again"
    assert lines(tmp_path) == lines(unbroken)
    assert table(tmp_path).tobytes() == table(unbroken).tobytes()


def test_a_run_that_is_killed_at_the_end_of_the_pass_goes_on(
    unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        kill_after(0, patch, "finish")
        with pytest.raises(Killed):
            train(job(tmp_path))
    train(job(tmp_path))
    assert lines(tmp_path) == lines(unbroken)


@pytest.mark.parametrize("keep", [True, False])
def test_a_resume_has_the_reference_of_the_start_even_where_its_file_is_gone(
    keep: bool, unbroken: Path, tmp_path: Path
) -> None:
    train(job(tmp_path, trainer__max_steps=2))
    if not keep:
        shutil.rmtree(tmp_path / REFERENCE_FOLDER)
    train(job(tmp_path), newest(tmp_path, 2))
    assert lines(tmp_path) == lines(unbroken)
    assert table(tmp_path).tobytes() == table(unbroken).tobytes()


def test_a_frozen_copy_gives_the_same_numbers_also_after_a_resume(unbroken: Path, tmp_path: Path) -> None:
    frozen = {"dpo": {"kl_beta": 0.1, "max_prompt_length": 32, "precompute_ref_log_probs": False}}
    train(job(tmp_path, model_alignment_strategy=frozen, trainer__max_steps=2))
    train(job(tmp_path, model_alignment_strategy=frozen), newest(tmp_path, 2))
    for step, values in lines(tmp_path).items():
        assert values == pytest.approx(lines(unbroken)[step], abs=1e-5), step
    assert not (tmp_path / REFERENCE_FOLDER).exists()


def test_other_start_weights_or_samples_are_another_reference(unbroken: Path, tmp_path: Path) -> None:
    shutil.copytree(unbroken / REFERENCE_FOLDER, tmp_path / REFERENCE_FOLDER)
    train(job(tmp_path, seed=8, trainer__max_steps=1))
    assert table(tmp_path).tobytes() != table(unbroken).tobytes()
    fewer = tmp_path / "fewer"
    shutil.copytree(unbroken / REFERENCE_FOLDER, fewer / REFERENCE_FOLDER)
    train(job(fewer, data__dev_choose_samples=12, trainer__max_steps=1))
    assert table(fewer).shape == (12, 2)


def test_the_validation_has_a_reference_too_and_its_metrics_are_logged(unbroken: Path, tmp_path: Path) -> None:
    train(
        job(
            tmp_path, data__val_dir=str(RECORDED / "pairs.jsonl"),
            trainer__val_check_interval=3, trainer__check_val_every_n_epoch=None,
            trainer__limit_val_batches=2,
        )
    )  # fmt: skip
    assert np.load(tmp_path / REFERENCE_FOLDER / "validation.npy").tobytes() == table(unbroken)[:8].tobytes()
    validations = [json.loads(line) for line in (tmp_path / "validations.jsonl").read_text().splitlines()]
    assert [one["step"] for one in validations] == [3, 6]
    assert 0 <= validations[-1]["val_rewards_accuracy"] <= 1
    assert validations[-1]["val_rewards_margin"] == pytest.approx(
        validations[-1]["val_chosen_rewards"] - validations[-1]["val_rejected_rewards"], abs=1e-5
    )
    assert lines(tmp_path) == lines(unbroken), "a validation changes nothing"


def test_orpo_needs_no_pass(tmp_path: Path) -> None:
    train(job(tmp_path, model_alignment_strategy={"orpo": {"beta": 0.1, "max_prompt_length": 32}}))
    found = [json.loads(line) for line in (tmp_path / contract.METRICS_FILE).read_text().splitlines()]
    assert found[-1]["nll"] < found[0]["nll"]
    assert found[0]["loss"] > found[0]["nll"]
    assert not (tmp_path / REFERENCE_FOLDER).exists()


PEFT = {"lora_rank": 4, "lora_alpha": 8, "lora_dropout": 0.1, "target_modules": ["q_proj", "v_proj"]}


def tuned(folder: Path, bias: str, *, precompute: bool, **changes: Any) -> dict[str, Any]:
    """The same with LoRA, from recorded weights with biases."""
    dpo = {"kl_beta": 0.1, "max_prompt_length": 32, "precompute_ref_log_probs": precompute}
    base = folder.parent / "base"
    if not base.exists():
        base.mkdir()
        shutil.copy(RECORDED / "weights/base_bias.safetensors", base / "model.safetensors")
        shutil.copy(RECORDED / "weights/config_bias.json", base / "config.json")
    own = {
        "model_alignment_strategy": {"dpo": dpo, "peft": {**PEFT, "lora_bias": bias}},
        "model__model_config": str(base / "config.json"), "exp_manager__resume_from_checkpoint": str(base),
        "model__weight_init_only": True,
    }  # fmt: skip
    return job(folder, **{**own, **changes})


@pytest.mark.parametrize("bias", ["none", "all"])
def test_with_lora_the_reference_is_the_base_with_its_first_biases(bias: str, tmp_path: Path) -> None:
    base = Start(0, str(tmp_path / "base"), weights_only=True)
    train(tuned(tmp_path / "whole", bias, precompute=True), base)
    whole = lines(tmp_path / "whole")
    assert whole[1]["loss"] == pytest.approx(0.693147, abs=1e-6)
    train(tuned(tmp_path / "frozen", bias, precompute=False), base)
    for step, values in lines(tmp_path / "frozen").items():
        assert values == pytest.approx(whole[step], rel=1e-5, abs=1e-5), step

    for keep, precompute in ((True, True), (False, True), (False, False)):
        folder = tmp_path / f"resumed {keep} {precompute}"
        train(tuned(folder, bias, precompute=precompute, trainer__max_steps=2), base)
        if not keep:
            shutil.rmtree(folder / REFERENCE_FOLDER, ignore_errors=True)
        train(tuned(folder, bias, precompute=precompute), newest(folder, 2))
        if precompute:
            assert lines(folder) == whole
            assert table(folder).tobytes() == table(tmp_path / "whole").tobytes()
        else:
            assert lines(folder) == lines(tmp_path / "frozen")


@pytest.mark.parametrize("precompute", [True, False])
@pytest.mark.parametrize("bias", ["none", "all"])
def test_with_lora_other_start_weights_at_a_resume_change_nothing(bias: str, precompute: bool, tmp_path: Path) -> None:
    """Also where the table is lost: base and reference are those that the checkpoint names, as the resume says."""
    base = Start(0, str(tmp_path / "base"), weights_only=True)
    train(tuned(tmp_path / "whole", bias, precompute=precompute), base)
    train(tuned(tmp_path / "run", bias, precompute=precompute, trainer__max_steps=2), base)
    shutil.rmtree(tmp_path / "run" / REFERENCE_FOLDER, ignore_errors=True)
    other = shutil.copytree(tmp_path / "base", tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    save_file({name: tensor * 1.5 for name, tensor in weights.items()}, other / "model.safetensors")
    edited = {"exp_manager__resume_from_checkpoint": str(other)}
    train(tuned(tmp_path / "run", bias, precompute=precompute, **edited), newest(tmp_path / "run", 2))
    assert lines(tmp_path / "run") == lines(tmp_path / "whole")


@pytest.mark.parametrize("bias", ["none", "all"])
def test_of_a_job_that_begins_with_adapters_the_reference_is_their_base(bias: str, tmp_path: Path) -> None:
    train(tuned(tmp_path / "first", bias, precompute=True), Start(0, str(tmp_path / "base"), weights_only=True))
    adapter = newest(tmp_path / "first", STEPS).checkpoint
    start, losses = Start(0, adapter, weights_only=True), []
    for precompute in (True, False):
        settings = tuned(tmp_path / str(precompute), bias, precompute=precompute, trainer__max_steps=2)
        settings["exp_manager"]["resume_from_checkpoint"] = adapter
        settings["model_alignment_strategy"]["peft"] |= {"load_lora_from_ckpt": True, "lora_dropout": 0.0}
        train(settings, start)
        losses.append([line["loss"] for line in lines(tmp_path / str(precompute)).values()])
    assert table(tmp_path / "True").tobytes() == table(tmp_path / "first").tobytes()
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert losses[0][0] < 0.69, "the adapters that the job begins with are in use"


@pytest.mark.parametrize("kind", ["mixed_precisionSR", "bf16SR", "autocast"])
def test_the_reference_computes_as_the_policy_does_in_each_precision(kind: str, tmp_path: Path) -> None:
    """So a table and a frozen copy are the same numbers, to the bit, and the first step's loss is ln 2."""
    frozen = {"dpo": {"kl_beta": 0.1, "max_prompt_length": 32, "precompute_ref_log_probs": False}}
    every = {"precision": {"type": kind}, "trainer__max_steps": 2}
    train(job(tmp_path / "table", **every))
    train(job(tmp_path / "frozen", model_alignment_strategy=frozen, **every))
    assert lines(tmp_path / "table")[1]["loss"] == pytest.approx(0.693147, abs=1e-6)
    assert lines(tmp_path / "frozen") == lines(tmp_path / "table")
