"""`neuron-train checkpoint convert`: transformers computes the same; upstream's layout goes there and back."""

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import yaml
from safetensors.torch import load_file
from torch import Tensor

from distributed.tiny import MODEL
from neuron_trainer import run_config
from neuron_trainer.__main__ import main
from neuron_trainer.checkpoint import verify
from neuron_trainer.convert import native, nxd
from neuron_trainer.convert.partition import Partition
from neuron_trainer.errors import InputError
from neuron_trainer.ipc.worker_channel import Start
from neuron_trainer.launcher.checkpoint_selector import CheckpointSelector
from neuron_trainer.models.family import Family
from neuron_trainer.preflight import preflight
from neuron_trainer.run_directory.log_dir import RESOLVED_CONFIG
from neuron_trainer.run_directory.resume import ResumeChoice

from .conftest import alone, train, typed
from .test_loop import checkpoint_at, lines

pytestmark = pytest.mark.slow

IDS = torch.arange(24).reshape(2, 12) % MODEL["vocab_size"]


def convert(source: Path, target: Path, *arguments: object) -> None:
    assert main(["checkpoint", "convert", str(source), str(target), *map(str, arguments)]) == 0


def logits(folder: Path) -> Tensor:
    """Of transformers, from its own files."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        found: Tensor = model(IDS).logits
    return found


def ours(checkpoint: Path) -> Tensor:
    """Of this trainer's model, with the weights of a checkpoint of its own."""
    family = Family.without_run(json.loads((checkpoint.parent / "config.json").read_text()))
    model = family.on_meta().to_empty(device="cpu")
    model.load_state_dict({name: load() for name, load in native.read(checkpoint).items()}, strict=False)
    family.tie(model)
    with torch.no_grad():
        found: Tensor = model.eval()(IDS)
    return found


def published(folder: Path, **changes: Any) -> Path:
    """A small model as transformers saves it."""
    values = {**MODEL, **changes}
    config = transformers.AutoConfig.for_model(values.pop("model_type"), **values)
    transformers.set_seed(5)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


VARIANTS = {
    "llama": {},
    "tied": {"tie_word_embeddings": True},
    "scaled": {"rope_scaling": {"rope_type": "linear", "factor": 2.0}},
    "mistral": {"model_type": "mistral", "sliding_window": 6},
    "mixtral": {"model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_there_and_back_the_weights_are_the_same_and_so_are_the_logits(variant: str, tmp_path: Path) -> None:
    theirs, own, back = published(tmp_path / "theirs", **VARIANTS[variant]), tmp_path / "x.ckpt", tmp_path / "back"
    (tmp_path / "config.json").write_text((theirs / "config.json").read_text())
    convert(theirs, own, "--to", "native")
    verify(own)
    assert torch.allclose(ours(own), logits(theirs), atol=1e-5)
    convert(own, back, "--to", "hf")
    assert torch.equal(logits(back), logits(theirs))


def test_a_trained_run_gives_the_same_logits_in_transformers(trained: Path, tmp_path: Path) -> None:
    checkpoint = checkpoint_at(trained, 6)
    convert(checkpoint, tmp_path / "hf", "--to", "hf")
    weights = native.read(checkpoint)
    found = load_file(tmp_path / "hf" / "model.safetensors")
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], load()) for name, load in weights.items())
    assert logits(tmp_path / "hf").isfinite().all()


def test_large_models_are_written_in_several_files(tmp_path: Path) -> None:
    theirs = published(tmp_path / "theirs")
    convert(theirs, tmp_path / "own.ckpt", "--to", "native")
    convert(tmp_path / "own.ckpt", tmp_path / "hf", "--to", "hf", "--max-shard-size", 2e-5)
    files = sorted((tmp_path / "hf").glob("*.safetensors"))
    assert len(files) > 2
    assert files[-1].name == f"model-{len(files):05d}-of-{len(files):05d}.safetensors"
    assert torch.equal(logits(tmp_path / "hf"), logits(theirs))


@pytest.mark.usefixtures("one_process")
def test_a_fine_tune_begins_with_converted_weights(
    tiny: Path, trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    convert(checkpoint_at(trained, 6), tmp_path / "hf", "--to", "hf", "--dtype", "float32")
    convert(tmp_path / "hf", tmp_path / "begin.ckpt", "--to", "native")
    values = alone(tiny, tmp_path / "log", trainer__max_steps=1)
    values["exp_manager"]["resume_from_checkpoint"] = str(tmp_path / "begin.ckpt")
    with caplog.at_level(logging.WARNING):
        chosen = CheckpointSelector(typed(values), tmp_path / "log", "").choose()
    assert chosen == ResumeChoice(str(tmp_path / "begin.ckpt"), True)
    (line,) = lines(train(values, Start(0, chosen.checkpoint, chosen.weights_only)))
    assert line["loss"] < lines(trained)[0]["loss"] - 0.01, "the weights have learned"


# ---- upstream's form ------------------------------------------------------------------------------------------------

SPLITS: dict[str, dict[str, Any]] = {
    "tp2": {"tensor": 2},
    "copies": {"tensor": 4, "kv_replicator": 2},
    "fused": {"tensor": 4, "kv_replicator": 2, "fuse_qkv": True},
    "fused-without-copies": {"tensor": 2, "qkv_linear": True, "fuse_qkv": True},
    "stages": {"tensor": 2, "pipeline": 2},
    "separate": {"tensor": 2, "qkv_linear": False},
}


def nxdt(folder: Path, model: Path, tensor: int = 1, pipeline: int = 1, kv_replicator: int | None = None,
         **keys: Any) -> Path:  # fmt: skip
    """A configuration of NxDT with this split."""
    values = alone(folder, folder / "log", trainer__devices=tensor * pipeline)
    values["distributed_strategy"] |= {
        "tensor_model_parallel_size": tensor, "pipeline_model_parallel_size": pipeline, "kv_replicator": kv_replicator,
    }  # fmt: skip
    values["data"]["global_batch_size"] = 8
    values["model"] |= {"model_config": str(model), "qkv_linear": True, "fuse_qkv": False, **keys}
    (folder / "nxdt.yaml").write_text(yaml.safe_dump(values))
    return folder / "nxdt.yaml"


@pytest.mark.parametrize("xser", [[], ["--xser"]], ids=["plain", "xser"])
@pytest.mark.parametrize("layout", ["tiled", "grouped"])
@pytest.mark.parametrize("split", SPLITS)
def test_upstreams_form_there_and_back(split: str, layout: str, xser: list[str], tmp_path: Path) -> None:
    theirs = published(tmp_path / "theirs", num_attention_heads=8, num_key_value_heads=2, vocab_size=97)
    config = nxdt(tmp_path, theirs, **SPLITS[split])
    convert(theirs, tmp_path / "nxd", "--to", "nxd", "--config", config, "--kv-layout", layout, *xser)
    convert(tmp_path / "nxd", tmp_path / "back", "--to", "hf", "--config", config, "--kv-layout", layout)
    before, after = load_file(theirs / "model.safetensors"), load_file(tmp_path / "back" / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert (tmp_path / "nxd" / "done").exists()


def partition(**changes: Any) -> Partition:
    values = {**MODEL, "num_attention_heads": 64, "num_key_value_heads": 16, "hidden_size": 64 * 4, "head_dim": 4}
    family = Family.without_run(values)
    settings: dict[str, Any] = {"tensor": 64, "layers": ((0, 1),), "copies": 4, "is_joined": True, "is_fused": False,
                                "is_grouped": False}  # fmt: skip
    return Partition(family.config, **(settings | changes))  # type: ignore[arg-type]


def test_query_heads_stand_beside_their_copy_of_a_key_head() -> None:
    """The example that upstream documents for its converter: 64 heads, 16 of keys and values, each four times."""
    tiled = partition()
    assert tiled.keys() == [*range(16)] * 4
    assert tiled.queries() == [*range(0, 64, 4), *range(1, 64, 4), *range(2, 64, 4), *range(3, 64, 4)]
    grouped = partition(is_grouped=True)
    assert grouped.keys() == [head for head in range(16) for _ in range(4)]
    assert grouped.queries() == list(range(64))


def test_files_are_named_and_filled_as_upstream_does(tmp_path: Path) -> None:
    theirs = published(tmp_path / "theirs", num_attention_heads=8, num_key_value_heads=2)
    config = nxdt(tmp_path, theirs, tensor=2, pipeline=2)
    convert(theirs, tmp_path / "nxd", "--to", "nxd", "--config", config)
    files = {path.name for path in (tmp_path / "nxd" / "model").iterdir()}
    assert files == {f"dp_rank_00_tp_rank_{t:02d}_pp_rank_{p:02d}.pt" for t in range(2) for p in range(2)}
    first = torch.load(tmp_path / "nxd" / "model" / "dp_rank_00_tp_rank_01_pp_rank_00.pt", weights_only=True)
    whole = load_file(theirs / "model.safetensors")
    hidden, inner = MODEL["hidden_size"], MODEL["intermediate_size"]
    assert set(first) == {
        "model.embed_tokens.weight", "model.layers.0.input_layernorm.weight",
        "model.layers.0.post_attention_layernorm.weight", "model.layers.0.self_attn.qkv_proj.weight_q",
        "model.layers.0.self_attn.qkv_proj.weight_k", "model.layers.0.self_attn.qkv_proj.weight_v",
        "model.layers.0.self_attn.o_proj.weight", "model.layers.0.mlp.gate_up_proj.weight",
        "model.layers.0.mlp.down_proj.weight",
    }  # fmt: skip
    mlp = "model.layers.0.mlp"
    up = torch.cat([whole[f"{mlp}.{x}_proj.weight"][inner // 2 :] for x in ("gate", "up")])
    assert torch.equal(first[f"{mlp}.gate_up_proj.weight"], up)
    assert torch.equal(first[f"{mlp}.down_proj.weight"], whole[f"{mlp}.down_proj.weight"][:, inner // 2 :])
    assert first["model.layers.0.self_attn.qkv_proj.weight_k"].shape == (hidden // 8, hidden)


def test_a_skeleton_refers_to_torch_xlas_class(tmp_path: Path) -> None:
    theirs = published(tmp_path / "theirs")
    convert(theirs, tmp_path / "nxd", "--to", "nxd", "--config", nxdt(tmp_path, theirs, tensor=2), "--xser")
    file = tmp_path / "nxd" / "model" / "dp_rank_00_tp_rank_00_pp_rank_00.pt"
    names = torch.serialization.get_unsafe_globals_in_checkpoint(file)
    assert names == ["torch_xla.utils.serialization.TensorReference"]
    info = torch.load(f"{file}.info.pt", weights_only=True)
    tensors = list(Path(f"{file}.tensors").iterdir())
    assert {path.name for path in tensors} == {f"tensor_{number}.pt" for number in info}
    assert nxd.TensorReference.__module__ == nxd.__name__


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--to", "nxd"], "give the NxDT file with --config"),
        (["--to", "native"], "give a name that ends in .ckpt"),
    ],
)
def test_what_is_missing_is_one_sentence(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = published(tmp_path / "theirs")
    capsys.readouterr()
    assert main(["checkpoint", "convert", str(theirs), str(tmp_path / "out"), *arguments]) == 2
    message = capsys.readouterr().err
    assert words in message
    assert len(message.splitlines()) == 1


def test_a_directory_of_something_else_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["checkpoint", "convert", str(tmp_path / "none"), str(tmp_path / "x"), "--to", "hf"]) == 2
    assert "there is no directory" in capsys.readouterr().err
    assert main(["checkpoint", "convert", str(tmp_path), str(tmp_path / "x"), "--to", "hf"]) == 2
    assert "is no checkpoint of this trainer" in capsys.readouterr().err


@pytest.mark.usefixtures("one_process")
def test_one_tokenizer_goes_from_prepare_through_a_run_to_transformers(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """F66: it was lost between the tools. Looked at: rows that name no tokenizer, records that name the rows'
    directory, a run in place of a checkpoint, the umask, `--tokenizer`, and none at all."""
    (tmp_path / "a.txt").write_text("some words, and some more words\n" * 400)
    arguments = ["--input", str(tmp_path / "a.txt"), "--seq-length", "32", "--vocab-size", "280"]
    assert main(["data", "prepare", *arguments, "--output", str(tmp_path / "rows")]) == 0
    (tmp_path / "config.json").write_text(json.dumps({**MODEL, "vocab_size": 280}))
    values = alone(tiny, tmp_path / "log", data__train_dir=str(tmp_path / "rows"), trainer__max_steps=2,
                   model__model_config=str(tmp_path))  # fmt: skip
    values["exp_manager"]["checkpoint_callback_params"]["every_n_train_steps"] = 1
    run = train(values)
    (run / RESOLVED_CONFIG).write_text(yaml.safe_dump(values))
    capsys.readouterr()
    old = os.umask(0o027)
    try:
        convert(run, tmp_path / "hf", "--to", "hf")
    finally:
        os.umask(old)
    said = capsys.readouterr().out
    assert f".ckpt is the newest checkpoint of {run}" in said
    assert "step=2-" in said
    assert f"files of the tokenizer in {tmp_path}/rows" in said
    made = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    assert made.eos_token == "<|end_of_text|>"
    assert made.decode(made.encode("some words")) == "some words"
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "hf").iterdir()} == {0o640}

    records = [{"input": "some", "output": "words"}] * 8
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    tuned = alone(tiny, tmp_path / "sft", data__train_dir=str(tmp_path / "r.jsonl"), data__seq_length=16,
                  model__model_config=str(tmp_path))  # fmt: skip
    tuned["data"]["tokenizer"] = {"type": str(tmp_path / "rows")}
    tuned["model_alignment_strategy"] = {"sft": {}}
    preflight.check(run_config.with_record_length(typed(tuned)), 1, tmp_path / "sft")

    (run / RESOLVED_CONFIG).unlink()
    convert(run, tmp_path / "without", "--to", "hf")
    assert f"files of the tokenizer in {tmp_path}/rows" in capsys.readouterr().out, "the manifest names it, too"
    (tmp_path / "rows").rename(tmp_path / "moved")
    convert(run, tmp_path / "bare", "--to", "hf")
    assert "no tokenizer: none was found beside the source; give --tokenizer DIR" in capsys.readouterr().out
    convert(run, tmp_path / "given", "--to", "hf", "--tokenizer", tmp_path / "hf")
    assert (tmp_path / "given" / "tokenizer.json").is_file()
    assert main(["checkpoint", "convert", str(run), str(tmp_path / "x"), "--to", "hf", "--tokenizer", str(run)]) == 2
    assert not (tmp_path / "x").exists()


def test_a_tokenizer_without_an_end_is_named_with_file_and_key(tmp_path: Path) -> None:
    from neuron_api.config.data import TokenizerConfig
    from neuron_trainer.data import tokenizer

    (tmp_path / "a.txt").write_text("some words\n" * 99)
    arguments = ["--input", str(tmp_path / "a.txt"), "--seq-length", "32", "--vocab-size", "280"]
    assert main(["data", "prepare", *arguments, "--output", str(tmp_path / "rows")]) == 0
    (tmp_path / "rows" / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    with pytest.raises(InputError, match=f"{tmp_path}/rows/tokenizer_config.json sets no eos_token"):
        tokenizer.load(TokenizerConfig(type=str(tmp_path / "rows")))
