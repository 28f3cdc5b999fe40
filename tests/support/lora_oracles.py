"""LoRA trainings that PEFT did: the same job as a configuration of ours, its batches and its numbers."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

DATA = Path(__file__).parent.parent / "data" / "alignment"
CASES = ["qv_none", "all7_none", "qkv_shared_A", "qkv_separate_A", "qv_bias_all", "qv_bias_lora_only"]
SEQUENCE = 64
OPTIMIZER = {"name": "adamw", "lr": 5e-3, "weight_decay": 0.0, "sched": {"name": "WarmupPolicy", "max_steps": 99}}


def case(name: str) -> dict[str, Any]:
    """One of `CASES`."""
    found: dict[str, Any] = json.loads((DATA / "lora" / f"{name}.json").read_text())
    return found


def base(folder: Path, settings: dict[str, Any]) -> Path:
    """The directory of `transformers` with the base of a case, which is made in `folder`."""
    weights = (DATA / "lora" / settings["base"]).resolve()
    target = folder / weights.stem
    target.mkdir(parents=True, exist_ok=True)
    config = "config_bias.json" if weights.stem.endswith("bias") else "config.json"
    (target / "config.json").write_bytes((DATA / "weights" / config).read_bytes())
    (target / "model.safetensors").write_bytes(weights.read_bytes())
    return target


def peft(settings: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The section `peft` of a case."""
    keys = ("lora_rank", "lora_alpha", "lora_dropout", "lora_bias")
    targets = ["qkv_proj"] if settings["shared_A"] else settings["target_modules"]
    return {**{key: settings[key] for key in keys}, "target_modules": targets, **changes}


def values(folder: Path, name: str, log_dir: Path, **changes: Any) -> dict[str, Any]:
    """The job of a case as plain data, without its records; `changes` as in `tiny.config`."""
    from distributed.tiny import config

    settings = case(name)["settings"]
    model = base(folder, settings)
    fixed = {
        "trainer__devices": 1, "trainer__num_nodes": 1, "trainer__gradient_clip_val": None,
        "distributed_strategy__tensor_model_parallel_size": 1, "distributed_strategy__sequence_parallel": False,
        "distributed_strategy__zero1": False,
        "data__micro_batch_size": 4, "data__global_batch_size": 4, "data__train_dir": str(DATA / "records.jsonl"),
        "model__model_config": str(model / "config.json"), "model__encoder_seq_length": SEQUENCE,
        "model__optim": OPTIMIZER,
        "model_alignment_strategy": {"sft": {}, "peft": peft(settings)},
    }  # fmt: skip
    found = config(folder, log_dir, **{**fixed, **changes})
    found["data"].setdefault("tokenizer", {"type": str(DATA / "tokenizer")})
    found["data"].setdefault("seq_length", SEQUENCE)
    return found


def config(folder: Path) -> dict[str, Any]:
    """The config.json of a directory."""
    found: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return found


def counts() -> list[dict[str, Any]]:
    """What PEFT trains for combinations of targets and biases."""
    found: list[dict[str, Any]] = json.loads((DATA / "lora" / "counts_and_names.json").read_text())["counts"]
    return found


def batches(name: str) -> list[dict[str, Tensor]]:
    """`input_ids` and `labels` of each step, int64 [4, 64]; the target of the output at t is in place t."""
    records = json.loads((DATA / "records.json").read_text())["records"]
    return [_batch([records[index] for index in step]) for step in case(name)["training"]["batches"]]


def _batch(records: list[dict[str, Any]]) -> dict[str, Tensor]:
    ids = torch.zeros(len(records), SEQUENCE, dtype=torch.int64)
    labels = torch.full_like(ids, -100)
    for row, record in enumerate(records):
        ids[row, : len(record["ids"])] = torch.tensor(record["ids"])
        labels[row, : len(record["labels"]) - 1] = torch.tensor(record["labels"][1:])
    return {"input_ids": ids, "labels": labels}


def probe(name: str) -> tuple[Tensor, list[int], Tensor]:
    """Ids [2, 64], of each row a position, and the logits there, fp64 [2, V]."""
    found = case(name)["probe"]
    records = json.loads((DATA / "records.json").read_text())["records"]
    ids = _batch([records[index] for index in found["records"]])["input_ids"]
    return ids, found["positions"], torch.tensor(found["logits_own_fp64_adapter_on"], dtype=torch.float64)


def initial(name: str) -> dict[str, Tensor]:
    """What A begins with, by its parameter's name."""
    return load_file(DATA / "lora" / case(name)["settings"]["initial_A"])
