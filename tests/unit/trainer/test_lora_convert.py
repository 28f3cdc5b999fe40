"""`neuron-train checkpoint convert` of adapters: to PEFT's directory and back, and merged for transformers."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor

import lora_oracles as oracles
from distributed.tiny import MODEL
from neuron_trainer.__main__ import main
from neuron_trainer.checkpoint.manifest import read
from neuron_trainer.ipc.worker_channel import Start

from .conftest import train
from .test_loop import checkpoint_at
from .test_lora_checkpoints import logits, taken_up, values

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_process")]

WEIGHTS = oracles.DATA / "weights"


def convert(source: Path, target: Path, *arguments: object) -> int:
    return main(["checkpoint", "convert", str(source), str(target), *map(str, arguments)])


def of_transformers(folder: Path, ids: Tensor) -> Tensor:
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        found: Tensor = model(ids).logits
    return found


def peft_folder(name: str) -> Path:
    return oracles.DATA / "lora" / str(oracles.case(name)["peft_folder"])


@pytest.mark.parametrize("name", oracles.CASES)
def test_merged_with_its_base_transformers_gives_the_logits_of_peft(name: str, tmp_path: Path) -> None:
    base = oracles.base(tmp_path, oracles.case(name)["settings"])
    assert convert(peft_folder(name), tmp_path / "merged", "--to", "hf", "--base", base) == 0
    ids, positions, wanted = oracles.probe(name)
    found = of_transformers(tmp_path / "merged", ids)[range(len(ids)), positions]
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=2e-5)
    stored = load_file(tmp_path / "merged" / "model.safetensors")
    for key, weight in load_file(WEIGHTS / f"lora_merged_{name}.safetensors").items():
        torch.testing.assert_close(stored[key], weight, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", oracles.CASES)
def test_from_peft_and_back_it_is_the_same(name: str, tmp_path: Path) -> None:
    base = oracles.base(tmp_path, oracles.case(name)["settings"])
    assert convert(peft_folder(name), tmp_path / "a.ckpt", "--to", "native", "--base", base) == 0
    entry = read(tmp_path / "a.ckpt").adapters
    assert entry is not None
    assert ("qkv_proj" in entry.targets) == ("shared" in name)
    assert convert(tmp_path / "a.ckpt", tmp_path / "peft", "--to", "peft") == 0
    before, after = (load_file(one / "adapter_model.safetensors") for one in (peft_folder(name), tmp_path / "peft"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    old, new = (json.loads((one / "adapter_config.json").read_text()) for one in (peft_folder(name), tmp_path / "peft"))
    assert sorted(old.pop("target_modules")) == sorted(new.pop("target_modules"))
    assert {key: old[key] for key in new if key != "base_model_name_or_path"} == {
        key: value for key, value in new.items() if key != "base_model_name_or_path"
    }


def test_a_hand_written_directory_is_read(tmp_path: Path) -> None:
    found = json.loads((oracles.DATA / "lora" / "counts_and_names.json").read_text())["hand_written"]
    base = oracles.base(tmp_path, {"base": "../weights/base.safetensors"})
    assert convert(oracles.DATA / "lora" / "hand_written", tmp_path / "hf", "--to", "hf", "--base", base) == 0
    records = json.loads((oracles.DATA / "records.json").read_text())["records"]
    last = of_transformers(tmp_path / "hf", torch.tensor([records[0]["ids"]]))[0, -1]
    wanted = torch.tensor(found["logits_own_fp64_record0_last"], dtype=torch.float64)
    torch.testing.assert_close(last.double(), wanted, rtol=0, atol=2e-5)


def tuned(folder: Path, **changes: Any) -> tuple[dict[str, Any], Path]:
    """A run of four steps, and its last checkpoint."""
    settings = values(folder, trainer__max_steps=4, **changes)
    start = settings["exp_manager"]["resume_from_checkpoint"]
    return settings, checkpoint_at(train(settings, Start(0, start, start is not None)), 4)


EVERY = {
    "target_modules": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj", "embed_tokens", "lm_head"],
    "lora_bias": "all",
}


@pytest.mark.parametrize("form", ["adapters", "with the base", "merged"])
def test_what_a_run_tuned_is_exported_with_its_logits(form: str, tmp_path: Path) -> None:
    settings, checkpoint = tuned(tmp_path, form=form, peft={**EVERY, "lora_dropout": 0})
    ids, _, _ = oracles.probe("qv_none")
    assert convert(checkpoint, tmp_path / "hf", "--to", "hf") == 0
    if form == "merged":
        return
    again = {**settings, "exp_manager": {**settings["exp_manager"], "resume_from_checkpoint": str(checkpoint)}}
    again["exp_manager"]["explicit_log_dir"] = str(tmp_path / "again")
    again["model_alignment_strategy"]["peft"]["load_lora_from_ckpt"] = True
    own = logits(again, ids)
    torch.testing.assert_close(of_transformers(tmp_path / "hf", ids), own, rtol=0, atol=2e-5)
    assert convert(checkpoint, tmp_path / "peft", "--to", "peft", "--tokenizer", oracles.DATA / "tokenizer") == 0
    assert (tmp_path / "peft" / "tokenizer.json").is_file()
    section = settings["model_alignment_strategy"]["peft"]
    found = logits(_begun(tmp_path, tmp_path / "peft", section, settings), ids)
    torch.testing.assert_close(found, own, rtol=0, atol=2e-5)


def _begun(tmp_path: Path, folder: Path, section: dict[str, Any], like: dict[str, Any]) -> dict[str, Any]:
    settings = values(tmp_path, exp_manager__resume_from_checkpoint=str(folder), peft=section)
    settings["exp_manager"]["explicit_log_dir"] = str(tmp_path / "once more")
    settings["model"]["model_config"] = like["model"]["model_config"]
    return settings


def test_merged_and_alone_are_one_model(tmp_path: Path) -> None:
    peft = {**EVERY, "lora_dropout": 0}
    _, alone = tuned(tmp_path / "a", peft=peft)
    _, merged = tuned(tmp_path / "b", form="merged", peft=peft)
    for name, source in (("alone", alone), ("merged", merged)):
        assert convert(source, tmp_path / name, "--to", "hf") == 0
    ids, _, _ = oracles.probe("qv_none")
    found, wanted = (of_transformers(tmp_path / name, ids) for name in ("merged", "alone"))
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-5)


def test_a_shared_embedding_becomes_two_weights_where_one_has_an_adapter(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(
        json.dumps({**MODEL, "vocab_size": 128, "tie_word_embeddings": True})
    )
    _, checkpoint = tuned(
        tmp_path, peft={"target_modules": ["lm_head"], "lora_bias": "none", "lora_dropout": 0},
        exp_manager__resume_from_checkpoint=None, model__model_config=str(tmp_path / "model" / "config.json"),
        model__encoder_seq_length=32, data__seq_length=32,
    )  # fmt: skip
    assert convert(checkpoint, tmp_path / "hf", "--to", "hf") == 0
    stored = load_file(tmp_path / "hf" / "model.safetensors")
    assert not torch.equal(stored["lm_head.weight"], stored["model.embed_tokens.weight"])
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["tie_word_embeddings"] is False


WRONG = {
    "a model without adapters": ("base", ["--to", "peft"], "has no adapters, so PEFT has no form of it"),
    "no base": ("peft", ["--to", "hf"], "has adapters and no model. Give the base's directory with --base"),
    "no model": ("peft", ["--to", "hf", "--base", "/nowhere"], "/nowhere is no model with weights"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_converted_is_refused_in_words(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind, arguments, message = WRONG[name]
    base = oracles.base(tmp_path, {"base": "../weights/base.safetensors"})
    assert convert(base if kind == "base" else peft_folder("qv_none"), tmp_path / "target", *arguments) != 0
    assert message in capsys.readouterr().err


def test_another_base_than_that_of_the_checkpoint_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, checkpoint = tuned(tmp_path)
    other = oracles.base(tmp_path, {"base": "../weights/base.safetensors"})
    assert convert(checkpoint, tmp_path / "hf", "--to", "hf", "--base", other) != 0
    assert f"{other} is not the base of {checkpoint}" in capsys.readouterr().err


def test_a_directory_of_peft_is_taken_up_after_a_native_detour(tmp_path: Path) -> None:
    name = "qkv_shared_A"
    base = oracles.base(tmp_path, oracles.case(name)["settings"])
    assert convert(peft_folder(name), tmp_path / "a.ckpt", "--to", "native", "--base", base) == 0
    ids, positions, wanted = oracles.probe(name)
    found = logits(taken_up(tmp_path, name, tmp_path / "a.ckpt"), ids)[range(len(ids)), positions]
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=2e-5)
