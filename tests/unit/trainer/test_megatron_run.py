"""A Megatron model on Megatron's data, through pre-flight and loop: it learns, and a resume is the run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuron_api import contract
from neuron_trainer.checkpoint import complete
from neuron_trainer.data.megatron.writer import IndexedWriter
from neuron_trainer.errors import InputError
from neuron_trainer.ipc.worker_channel import Start
from neuron_trainer.launcher.checkpoint_selector import CheckpointSelector
from neuron_trainer.preflight import preflight

from .conftest import alone, train, typed

pytestmark = [pytest.mark.usefixtures("one_process"), pytest.mark.slow]

VOCABULARY, SEQUENCE = 61, 16
END = VOCABULARY - 1


@pytest.fixture
def values(tiny: Path, tmp_path: Path) -> dict[str, Any]:
    """A GPT of two layers on 60 documents in which each token says the next, with an end."""
    random = np.random.default_rng(1)
    with IndexedWriter(tmp_path / "text", np.dtype(np.uint16)) as file:
        for _ in range(60):
            text = (random.integers(0, 60) + np.arange(random.integers(5, 60)) * 7) % END
            file.add(np.append(text, END).astype(np.int64))
    vocabulary = {f"t{number}": number for number in range(END)} | {"<|endoftext|>": END}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    found = alone(tiny, tmp_path / "log", trainer__max_steps=8, model_source="megatron")
    optim = found["model"]["optim"]
    found["model"] = {
        "encoder_seq_length": SEQUENCE, "num_layers": 2, "hidden_size": 32, "ffn_hidden_size": 64,
        "num_attention_heads": 4, "position_embedding_type": "learned_absolute", "normalization": "layernorm",
        "activation": "gelu", "has_bias": True, "share_embeddings_and_output_weights": True, "hidden_dropout": 0.1,
        "make_vocab_size_divisible_by": 4, "optim": optim,
    }  # fmt: skip
    tokenizer = {"library": "megatron", "type": "GPT2BPETokenizer", "vocab_file": str(tmp_path / "vocab.json"),
                 "merge_file": str(tmp_path / "merges.txt")}  # fmt: skip
    found["data"] = {
        "micro_batch_size": 2, "global_batch_size": 4, "data_prefix": [1.0, str(tmp_path / "text")],
        "splits_string": "8,1,1", "seq_length": SEQUENCE, "tokenizer": tokenizer,
    }  # fmt: skip
    return found


def numbers(folder: Path) -> list[tuple[float, ...]]:
    lines = [json.loads(line) for line in (folder / contract.METRICS_FILE).read_text().splitlines()]
    return [(line["step"], line["loss"], line["lr"], line["gradient_norm"]) for line in lines]


def test_the_preflight_finds_nothing(values: dict[str, Any], tmp_path: Path) -> None:
    preflight.check(typed(values), 1, tmp_path / "log")


def test_it_learns(values: dict[str, Any]) -> None:
    values["trainer"]["max_steps"] = 30
    steps = numbers(train(values))
    assert len(steps) == 30
    assert steps[-1][1] < steps[0][1] - 1


@pytest.mark.parametrize("has_documents", [False, True])
def test_an_interrupted_run_is_the_unbroken_one(has_documents: bool, values: dict[str, Any], tmp_path: Path) -> None:
    values["data"] |= dict.fromkeys(("reset_position_ids", "reset_attention_mask", "eod_mask_loss"), has_documents)
    values["exp_manager"]["checkpoint_callback_params"]["every_n_train_steps"] = 3
    unbroken = numbers(train(values))
    values["exp_manager"]["explicit_log_dir"] = str(tmp_path / "other")
    values["trainer"]["max_steps"] = 3
    values["model"]["optim"]["sched"]["max_steps"] = 200
    folder = train(values)
    values["trainer"]["max_steps"] = 8
    (newest, *_) = complete(folder / contract.CHECKPOINTS_DIR)
    assert numbers(train(values, Start(0, str(newest.path)))) == unbroken


def test_its_launcher_takes_its_checkpoint_up_and_no_other_models(values: dict[str, Any], tmp_path: Path) -> None:
    values["trainer"]["max_steps"] = 1
    train(values)
    [one] = complete(tmp_path / "log" / contract.CHECKPOINTS_DIR)
    assert CheckpointSelector(typed(values), tmp_path / "log", "").choose().checkpoint == str(one.path)
    values["model"]["ffn_hidden_size"] = 96
    with pytest.raises(InputError, match="is of another model: ffn_hidden_size 64 there, 96 here"):
        CheckpointSelector(typed(values), tmp_path / "log", "").choose()
