"""What all loops train: one of our plain modules, the same optimizer and batches, for some sizes."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
import yaml
from datasets import Dataset
from torch import Tensor, nn

from neuron_api.config import TrainingConfig
from neuron_api.loading.loader import load_text
from neuron_trainer.models.family import Family

LR: Final = 1e-4
CLIP: Final = 1.0


@dataclass(frozen=True)
class Size:
    """A Llama and its batch."""

    name: str
    hidden: int
    layers: int
    vocabulary: int
    length: int
    micro: int
    """Rows of a micro-batch."""
    micro_batches: int = 1

    @property
    def rows(self) -> int:
        """Of a step."""
        return self.micro * self.micro_batches

    @property
    def tokens(self) -> int:
        """Of a step."""
        return self.rows * self.length


NANO: Final = Size("nano", 8, 1, 16, 8, 1)
SMALL: Final = Size("small", 192, 4, 2048, 128, 4)
MEDIUM: Final = Size("medium", 384, 6, 8192, 256, 4)


def config(folder: Path, size: Size, kind: str, steps: int, **changes: Any) -> TrainingConfig:
    """Ours; the rows are written beside it. `kind`: a precision type."""
    model = {
        "model_type": "llama", "vocab_size": size.vocabulary, "hidden_size": size.hidden,
        "intermediate_size": 3 * size.hidden, "num_hidden_layers": size.layers,
        "num_attention_heads": max(1, size.hidden // 64), "num_key_value_heads": max(1, size.hidden // 128),
        "max_position_embeddings": size.length, "initializer_range": 0.02, "rms_norm_eps": 1e-5,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.json").write_text(json.dumps(model))
    data = folder / f"rows-{size.length}-{size.vocabulary}"
    if not data.exists():
        ids = np.random.default_rng(0).integers(0, size.vocabulary, (256, size.length)).astype(np.int32)
        Dataset.from_dict({"input_ids": ids, "labels": ids, "attention_mask": np.ones_like(ids)}).save_to_disk(
            str(data)
        )
    values: dict[str, Any] = {
        "name": size.name, "model_source": "hf", "seed": 1,
        "trainer": {"devices": 1, "num_nodes": 1, "max_steps": steps, "log_every_n_steps": 10,
                    "gradient_clip_val": CLIP},
        "exp_manager": {"explicit_log_dir": str(folder / "log"), "resume_if_exists": False,
                        "checkpoint_callback_params": {"every_n_train_steps": 10**9, "save_top_k": 1}},
        "distributed_strategy": {"zero1": False},
        "data": {"micro_batch_size": size.micro, "global_batch_size": size.rows, "train_dir": str(data)},
        "model": {"model_config": str(folder / "model.json"), "encoder_seq_length": size.length,
                  "do_layer_norm_weight_decay": True,  # as the other loops' one group of parameters has it
                  "optim": {"name": "adamw", "lr": LR, "sched": {"name": "WarmupPolicy", "max_steps": 10**9}}},
        "precision": {"type": kind},
    }  # fmt: skip
    for key, value in changes.items():
        section, name = key.split("__")
        values[section][name] = value
    loaded = load_text(yaml.safe_dump(values))
    assert loaded.config is not None, loaded.findings
    return loaded.config


def module(wanted: TrainingConfig) -> nn.Module:
    """The plain module with its initial weights."""
    family = Family.from_config(wanted)
    made = family.on_meta()
    for name, meta in list(made.named_parameters()):
        owner, _, attribute = name.rpartition(".")
        setattr(made.get_submodule(owner), attribute, nn.Parameter(family.init_parameter(name, meta.shape)))
    return made


def batches(size: Size) -> Tensor:
    """256 rows; the loops other than ours take their micro-batches from them, in memory."""
    return torch.randint(0, size.vocabulary, (256, size.length), generator=torch.Generator().manual_seed(0))


def loss_of(logits: Tensor, ids: Tensor) -> Tensor:
    """Mean cross-entropy of the next token."""
    labels = F.pad(ids[:, 1:], (0, 1), value=-100)
    return F.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=-100)
