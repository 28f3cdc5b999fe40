"""The smallest job that still has everything: 2 layers, grouped-query attention, 4 processes."""

from pathlib import Path
from typing import Any

import numpy as np
import yaml

SEQUENCE = 32
VOCABULARY = 96
MODEL = {
    "model_type": "llama",
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": SEQUENCE,
    "initializer_range": 0.1,
}


def write_rows(folder: Path, rows: int, length: int = SEQUENCE, vocabulary: int = VOCABULARY) -> None:
    """Rows with structure to learn: walks of small steps, so that the loss falls.

    In each row as many labels do not count (micro-batches weigh equally only then, B-4), at places of its own.
    """
    from datasets import Dataset

    random = np.random.default_rng(3)
    walks = random.integers(0, vocabulary, (rows, 1)) + random.integers(0, 4, (rows, length)).cumsum(axis=1)
    ids = (walks % vocabulary).astype(np.int32)
    labels = ids.copy()
    for row in labels:
        row[random.choice(np.arange(1, length), size=length // 6, replace=False)] = -100
    columns = {"input_ids": ids, "attention_mask": np.ones_like(ids), "labels": labels}
    Dataset.from_dict(columns).save_to_disk(str(folder))


def config(tiny: Path, log_dir: Path, **changes: Any) -> dict[str, Any]:
    """A configuration as plain data; `changes` are dotted keys with `__` for the dot."""
    values: dict[str, Any] = {
        "name": "tiny",
        "model_source": "hf",
        "seed": 7,
        "trainer": {"devices": 2, "num_nodes": 2, "max_steps": 30, "log_every_n_steps": 1, "gradient_clip_val": 1.0},
        "exp_manager": {
            "explicit_log_dir": str(log_dir),
            "resume_if_exists": True,
            "resume_ignore_no_checkpoint": True,
            "log_local_rank_0_only": True,
            "checkpoint_callback_params": {
                "save_top_k": 2,
                "every_n_train_steps": 5,
                "filename": "tiny--{step}-{consumed_samples}",
            },
        },
        "distributed_strategy": {"tensor_model_parallel_size": 2, "zero1": True, "sequence_parallel": True},
        "data": {"micro_batch_size": 2, "global_batch_size": 8, "train_dir": str(tiny / "data")},
        "model": {
            "model_config": str(tiny / "model.json"),
            "encoder_seq_length": SEQUENCE,
            "optim": {"name": "adamw_fp32OptState", "lr": 3e-3, "sched": {"warmup_steps": 5, "max_steps": 200}},
        },
        "precision": {"type": "fp32"},
    }
    for key, value in changes.items():
        *parents, name = key.split("__")
        node = values
        for parent in parents:
            node = node[parent]
        node[name] = value
    return values


def write_config(path: Path, values: dict[str, Any]) -> Path:
    """As YAML."""
    path.write_text(yaml.safe_dump(values))
    return path
