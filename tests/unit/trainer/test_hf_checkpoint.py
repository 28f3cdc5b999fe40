"""`exp_manager.resume_from_checkpoint` with a model of `transformers`: taken up as weights alone, or refused in a
sentence."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from distributed.tiny import MODEL
from neuron_trainer.errors import CheckpointError, InputError
from neuron_trainer.ipc.worker_channel import Start
from neuron_trainer.launcher.checkpoint_selector import CheckpointSelector
from neuron_trainer.models.family import Family
from neuron_trainer.run_directory.resume import ResumeChoice

from .conftest import alone, train, typed
from .megatron import section
from .test_checkpoint_convert import published
from .test_loop import lines

pytestmark = pytest.mark.slow


def begun_with(folder: Path, tiny: Path, log: Path, **changes: Any) -> dict[str, Any]:
    """A run that is given this model."""
    values = alone(tiny, log, trainer__max_steps=1, **changes)
    values["exp_manager"]["resume_from_checkpoint"] = str(folder)
    return values


@pytest.mark.usefixtures("one_process")
def test_the_first_loss_is_that_of_the_model(tiny: Path, tmp_path: Path) -> None:
    theirs = published(tmp_path / "theirs")
    values = begun_with(theirs, tiny, tmp_path / "log")
    chosen = CheckpointSelector(typed(values), tmp_path / "log", "").choose()
    assert chosen == ResumeChoice(str(theirs), weights_only=True)
    (line,) = lines(train(values, Start(0, chosen.checkpoint, chosen.weights_only)))
    model = transformers.AutoModelForCausalLM.from_pretrained(theirs, dtype=torch.float32)
    rows = torch.utils.data.DataLoader(_rows(tiny), batch_size=2)
    losses = [model(ids, labels=labels).loss.item() for ids, labels in rows]
    assert line["loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def _rows(tiny: Path) -> list[Any]:
    from datasets import load_from_disk

    rows = load_from_disk(str(tiny / "data")).with_format("torch")[:8]
    return list(zip(rows["input_ids"].long(), rows["labels"].long(), strict=True))


def damage(what: str, folder: Path) -> None:
    file = next(folder.glob("*.safetensors"))
    match what:
        case "cut off":
            file.write_bytes(file.read_bytes()[:-100])
        case "no header":
            file.write_bytes(b"{}")
        case "a file is missing":
            index = {"metadata": {}, "weight_map": {"lm_head.weight": "model-00001-of-00001.safetensors"}}
            (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        case "no index":
            (folder / "model.safetensors.index.json").write_text("[")
        case "no config.json":
            (folder / "config.json").unlink()
        case "config.json in another encoding":
            (folder / "config.json").write_bytes(b'{"a": "caf\xe9"}')
        case "another model":
            (folder / "config.json").write_text(json.dumps({**MODEL, "num_attention_heads": 8}))


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("cut off", "model.safetensors cannot be read"),
        ("no header", "model.safetensors cannot be read"),
        ("a file is missing", "model-00001-of-00001.safetensors cannot be read"),
        ("no index", "model.safetensors.index.json cannot be read"),
        ("no config.json", "config.json cannot be read"),
        ("config.json in another encoding", "config.json cannot be read: it is not UTF-8 text. Save it"),
        ("another model", "is of another model: num_attention_heads 8 there, 4 here"),
    ],
)
def test_what_is_wrong_with_it_is_one_sentence(what: str, sentence: str, tiny: Path, tmp_path: Path) -> None:
    theirs = published(tmp_path / "theirs")
    damage(what, theirs)
    with pytest.raises(InputError, match=sentence):
        CheckpointSelector(typed(begun_with(theirs, tiny, tmp_path / "log")), tmp_path / "log", "").choose()


@pytest.mark.usefixtures("one_process")
def test_a_tensor_that_it_has_not_is_named(tiny: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = published(tmp_path / "theirs") / "model.safetensors"
    tensors = load_file(file)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, file, metadata={"format": "pt"})
    values = begun_with(tmp_path / "theirs", tiny, tmp_path / "log")
    with pytest.raises(CheckpointError, match=r"it has no model\.model\.layers\.1\.mlp\.up_proj\.weight"):
        train(values, Start(0, str(tmp_path / "theirs"), weights_only=True))


def test_a_megatron_model_has_no_form_there() -> None:
    with pytest.raises(CheckpointError, match="transformers has no form of a megatron model"):
        _ = Family.from_config(section("megatron"), 96).hf_tensors
