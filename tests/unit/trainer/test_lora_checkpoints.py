"""Checkpoints of adapters: what is in them, that runs go on from them bit for bit, and what belongs to what."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import lora_oracles as oracles
from neuron_api import contract
from neuron_trainer.checkpoint import layout, reader, verify
from neuron_trainer.checkpoint.manifest import read
from neuron_trainer.errors import InputError
from neuron_trainer.ipc.worker_channel import Start
from neuron_trainer.launcher.checkpoint_selector import CheckpointSelector
from neuron_trainer.run_directory.resume import ResumeChoice

from .conftest import train, typed
from .test_loop import checkpoint_at, numbers

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_process")]

CASE = "qv_bias_lora_only"
FORMS: dict[str, dict[str, Any]] = {
    "adapters": {},
    "one file": {"merge_sharded_lora": True, "target_modules": ["qkv_proj", "embed_tokens"]},
    "with the base": {"save_lora_base": True},
    "merged": {"save_lora_base": True, "merge_lora": True},
}


def values(folder: Path, form: str = "adapters", **changes: Any) -> dict[str, Any]:
    """Six steps over the records with dropout, saved every second one; the base is a directory of transformers."""
    settings = oracles.case(CASE)["settings"]
    log = folder / "log"
    source = oracles.base(folder, settings)
    section = {**oracles.peft(settings), "lora_dropout": 0.1, **FORMS[form], **changes.pop("peft", {})}
    return oracles.values(
        folder, CASE, log, **{
            "trainer__max_steps": 6, "exp_manager__checkpoint_callback_params__every_n_train_steps": 2,
            "exp_manager__checkpoint_callback_params__save_top_k": -1, "data__micro_batch_size": 2,
            "exp_manager__resume_from_checkpoint": str(source), "model_alignment_strategy": {"peft": section},
            **changes,
        },
    )  # fmt: skip


def choose(settings: dict[str, Any]) -> ResumeChoice:
    """What a start begins with."""
    config = typed(settings)
    return CheckpointSelector(config, Path(str(config.exp_manager.explicit_log_dir)), "").choose()


def run(settings: dict[str, Any]) -> Path:
    """A start as the launcher makes it."""
    choice = choose(settings)
    return train(settings, Start(0, choice.checkpoint, choice.weights_only))


def names(checkpoint: Path) -> set[str]:
    return {one.name for one in reader.tensor_entries(checkpoint)}


@pytest.fixture(scope="module")
def runs(one_process: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The log directory of a run of each form."""
    return {form: run(values(tmp_path_factory.mktemp("runs"), form)) for form in FORMS}


def test_a_checkpoint_has_the_adapters_and_what_was_trained_beside_them(runs: dict[str, Path]) -> None:
    newest = checkpoint_at(runs["adapters"], 6)
    verify(newest)
    of_model = {name for name in names(newest) if name.startswith("model.")}
    ends = {name.partition("_proj.")[2] for name in of_model}
    assert ends == {"lora_A.weight", "lora_B.weight", "bias"}
    assert {name.split(".")[-3 if "lora" in name else -2] for name in of_model} == {"q_proj", "v_proj"}
    config = json.loads((newest / "adapter_config.json").read_text())
    assert (config["r"], config["bias"], config["target_modules"]) == (4, "lora_only", ["q_proj", "v_proj"])
    manifest = read(newest)
    assert manifest.adapters is not None
    assert manifest.adapters.base.source == config["base_model_name_or_path"]


def test_the_other_forms_have_what_their_keys_say(runs: dict[str, Path]) -> None:
    alone, whole, merged = (names(checkpoint_at(runs[form], 6)) for form in ("adapters", "with the base", "merged"))
    assert alone < whole
    assert "model.model.embed_tokens.weight" in whole - alone
    assert not {name for name in merged if name.startswith("model.") and "lora" in name}
    assert {name for name in merged if name.startswith("model.")} == {
        name for name in whole if name.startswith("model.") and "lora" not in name
    }
    joined = load_file(checkpoint_at(runs["one file"], 6) / "adapter_model.safetensors")
    first = "base_model.model.model.layers.0.self_attn"
    assert torch.equal(joined[f"{first}.q_proj.lora_A.weight"], joined[f"{first}.k_proj.lora_A.weight"])
    assert joined["base_model.model.model.embed_tokens.lora_embedding_A"].shape == (4, 128)


@pytest.mark.parametrize("step", [2, 4])
@pytest.mark.parametrize("form", FORMS)
def test_a_run_that_goes_on_is_the_unbroken_one_bit_for_bit(
    form: str, step: int, runs: dict[str, Path], tmp_path: Path
) -> None:
    settings = values(tmp_path, form)
    log = Path(settings["exp_manager"]["explicit_log_dir"])
    saved = checkpoint_at(runs[form], step)
    shutil.copytree(saved, log / contract.CHECKPOINTS_DIR / saved.name)
    shutil.copy(runs[form] / "run.json", log) if (runs[form] / "run.json").exists() else None
    assert numbers(run(settings)) == numbers(runs[form])[step:]


def test_written_beside_training_a_file_for_each_tensor_it_is_the_same(runs: dict[str, Path], tmp_path: Path) -> None:
    changes = {"exp_manager__async_checkpointing": True, "exp_manager__save_xser": True}
    log = run(values(tmp_path, "merged", **changes))
    assert numbers(log) == numbers(runs["merged"])
    assert names(checkpoint_at(log, 6)) == names(checkpoint_at(runs["merged"], 6))


def test_initial_weights_are_drawn_again_as_a_base(tmp_path: Path) -> None:
    settings = values(tmp_path, exp_manager__resume_from_checkpoint=None)
    log = run(settings)
    unbroken = numbers(log)
    shutil.rmtree(checkpoint_at(log, 6))
    (log / contract.METRICS_FILE).unlink()
    assert numbers(run(settings)) == unbroken[4:]
    settings["seed"] = 8
    shutil.rmtree(checkpoint_at(log, 6))
    with pytest.raises(InputError, match=r"drawn from another seed.*set seed as it was"):
        choose(settings)


def moved(log: Path, tmp_path: Path) -> dict[str, Any]:
    """A job in a copy of a log directory, whose base is a copy at another place."""
    settings = values(tmp_path)
    target = Path(settings["exp_manager"]["explicit_log_dir"])
    shutil.copytree(log, target)
    return settings


def _without_base(checkpoint: Path) -> None:
    manifest = read(checkpoint)
    assert manifest.adapters is not None
    base = manifest.adapters.base.model_copy(update={"source": "/nowhere"})
    entry = manifest.adapters.model_copy(update={"base": base})
    text = manifest.model_copy(update={"adapters": entry}).model_dump_json()
    (checkpoint / contract.CHECKPOINT_MANIFEST).write_text(text)


def test_a_base_that_has_moved_is_found_by_the_configuration(runs: dict[str, Path], tmp_path: Path) -> None:
    settings = moved(runs["adapters"], tmp_path)
    log = Path(settings["exp_manager"]["explicit_log_dir"])
    shutil.rmtree(checkpoint_at(log, 6))
    _without_base(checkpoint_at(log, 4))
    (log / contract.METRICS_FILE).unlink()
    assert numbers(run(settings)) == numbers(runs["adapters"])[4:]


def test_adapters_of_another_base_are_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    settings = moved(runs["adapters"], tmp_path)
    log, source = (Path(settings["exp_manager"][key]) for key in ("explicit_log_dir", "resume_from_checkpoint"))
    _without_base(checkpoint_at(log, 6))
    weights = load_file(source / "model.safetensors")
    weights["lm_head.weight"][5, 7] += 1
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        InputError, match=rf"has adapters of /nowhere, which is not there; {source} holds other weights"
    ):
        choose(settings)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another rank": ({"lora_rank": 5}, "lora_rank 4 there, 5 here"),
    "another scale": ({"lora_alpha": 5}, "lora_alpha 8.0 there, 5"),
    "other targets": ({"target_modules": ["q_proj"]}, "target_modules"),
    "other biases": ({"lora_bias": "none"}, "lora_bias lora_only there, none here"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_adapters_are_not_begun_with(name: str, runs: dict[str, Path], tmp_path: Path) -> None:
    changes, message = REFUSED[name]
    settings = values(
        tmp_path, peft={**changes, "load_lora_from_ckpt": True},
        exp_manager__resume_from_checkpoint=str(checkpoint_at(runs["adapters"], 6)),
    )  # fmt: skip
    with pytest.raises(InputError, match=message):
        choose(settings)


def test_a_run_begins_with_the_adapters_of_another(runs: dict[str, Path], tmp_path: Path) -> None:
    own = checkpoint_at(runs["adapters"], 6)
    settings = values(
        tmp_path, peft={"load_lora_from_ckpt": True}, exp_manager__resume_from_checkpoint=str(own),
        trainer__max_steps=2,
    )  # fmt: skip
    log = run(settings)
    assert numbers(log)[0][0] == 1
    assert numbers(log)[0][1] < numbers(runs["adapters"])[0][1]
    entry = read(checkpoint_at(log, 2)).adapters
    assert entry is not None
    assert Path(entry.base.source).name == "base_bias"


def test_adapters_are_no_model_for_a_run_that_trains_all_weights(runs: dict[str, Path], tmp_path: Path) -> None:
    own = checkpoint_at(runs["adapters"], 6)
    settings = values(tmp_path, exp_manager__resume_from_checkpoint=str(own), model__weight_init_only=True)
    settings["model_alignment_strategy"] = {"sft": {}}
    with pytest.raises(InputError, match=r"has adapters, and this run trains all weights.*convert"):
        choose(settings)


def test_the_share_is_in_the_log_and_every_module_where_wished(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        run(values(tmp_path, peft={"lora_verbose": True}, trainer__max_steps=1))
    assert "LoRA trains 1,984 of 74,624 parameters (2.66 %), in 4 modules" in caplog.messages
    assert "adapted: model.layers.0.self_attn.q_proj" in caplog.messages
    assert "trained: model.layers.1.self_attn.v_proj.lora_B.weight [32, 4]" in caplog.messages


# ---- PEFT's directories ----------------------------------------------------------------------------------------------


def logits(settings: dict[str, Any], ids: Tensor) -> Tensor:
    """Of the model that a run begins with."""
    from neuron_api.platform.topology import Topology
    from neuron_trainer.ipc.phases import Phases
    from neuron_trainer.loop.run import Run

    config, choice = typed(settings), choose(settings)
    topology, device = Topology.from_config(config), torch.device("cpu")
    built = Run.build(config, topology, "hash", device, lambda: False, Phases(), is_fresh=False)
    assert choice.checkpoint is not None
    assert choice.weights_only
    built.state.load_weights(Path(choice.checkpoint))
    with torch.no_grad():
        found: Tensor = built.module.model(ids)
    return found


def taken_up(tmp_path: Path, name: str, folder: Path, **changes: Any) -> dict[str, Any]:
    """A run of an oracle's case that begins with a directory of PEFT."""
    section = oracles.peft(oracles.case(name)["settings"], load_lora_from_ckpt=True, **changes)
    return oracles.values(
        tmp_path, name, tmp_path / "log", exp_manager__resume_from_checkpoint=str(folder),
        model_alignment_strategy={"peft": section},
    )  # fmt: skip


@pytest.mark.parametrize("name", oracles.CASES)
def test_adapters_that_peft_trained_give_its_logits(name: str, tmp_path: Path) -> None:
    ids, positions, wanted = oracles.probe(name)
    folder = oracles.DATA / "lora" / oracles.case(name)["peft_folder"]
    found = logits(taken_up(tmp_path, name, folder), ids)[range(len(ids)), positions]
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=2e-5)


def test_three_different_a_are_not_one(tmp_path: Path) -> None:
    settings = taken_up(
        tmp_path, "qkv_separate_A", oracles.DATA / "lora" / "peft_qkv_separate_A", target_modules=["qkv_proj"]
    )
    with pytest.raises(InputError, match=r"has another A for .*_proj than .*name the linears in target_modules"):
        choose(settings)


FOREIGN: dict[str, tuple[dict[str, Any], str]] = {
    "dora": ({"use_dora": True}, r"DoRA \(use_dora\)"),
    "rslora": ({"use_rslora": True}, "rank-stabilized scaling"),
    "whole modules": ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
    "ranks": ({"rank_pattern": {"q_proj": 2}}, "rank_pattern"),
    "another method": ({"peft_type": "IA3"}, "peft_type 'IA3'"),
    "no rank": ({"r": None}, "cannot be read"),
    "another rank": ({"r": 3}, "lora_rank 3 there, 4 here"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_no_adapter_of_ours_is_is_refused_in_words(name: str, tmp_path: Path) -> None:
    changes, message = FOREIGN[name]
    folder = tmp_path / "peft"
    shutil.copytree(oracles.DATA / "lora" / "peft_qv_none", folder)
    config = folder / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **changes}))
    with pytest.raises(InputError, match=message):
        choose(taken_up(tmp_path, "qv_none", folder))


def test_a_directory_of_peft_needs_its_key_and_the_run_its_targets(tmp_path: Path) -> None:
    folder = oracles.DATA / "lora" / "peft_all7_none"
    with pytest.raises(InputError, match="load_lora_from_ckpt to True"):
        choose(taken_up(tmp_path, "all7_none", folder) | {"model_alignment_strategy": {
            "peft": oracles.peft(oracles.case("all7_none")["settings"])}})  # fmt: skip
    with pytest.raises(InputError, match=r"and this run no such adapter"):
        choose(taken_up(tmp_path, "all7_none", folder, target_modules=["q_proj"]))


def test_no_marker_no_adapters(runs: dict[str, Path], tmp_path: Path) -> None:
    """A save that was killed after adapter_config.json is no directory of PEFT."""
    copied = tmp_path / checkpoint_at(runs["one file"], 6).name
    shutil.copytree(checkpoint_at(runs["one file"], 6), copied)
    (copied / contract.CHECKPOINT_MARKER).unlink()
    assert not layout.is_complete(copied)
    with pytest.raises(InputError, match="never completed"):
        choose(taken_up(tmp_path, CASE, copied))
