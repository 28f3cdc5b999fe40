"""Fine-tuning as a command: launcher, preflight and workers on records, split over two processes and on one."""

import json
from pathlib import Path
from typing import Any

import pytest

from .nodes import numbers
from .test_evaluation import command
from .tiny import config, write_config

pytestmark = pytest.mark.distributed


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer of the words w0 to w79."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokens = ["<s>", "</s>", "<pad>", "<unk>", *(f"w{n}" for n in range(80))]
    made = Tokenizer(models.WordLevel({word: n for n, word in enumerate(tokens)}, "<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    folder = tmp_path_factory.mktemp("words")
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=made, **special).save_pretrained(str(folder))
    return folder


def test_two_processes_learn_what_one_does(tiny: Path, words: Path, tmp_path: Path) -> None:
    records = [
        {"input": f"w{n} w{n + 1}", "output": " ".join(f"w{n + k}" for k in range(n % 7 + 1))} for n in range(40)
    ]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    found, tokens = {}, []
    for processes in (1, 2):
        values: dict[str, Any] = config(
            tiny, tmp_path / f"log{processes}", trainer__num_nodes=1, trainer__devices=processes, trainer__max_steps=8,
            distributed_strategy__tensor_model_parallel_size=processes,
            distributed_strategy__sequence_parallel=processes > 1, data__train_dir=str(tmp_path / "train.jsonl"),
            data__seq_length=24, data__tokenizer={"library": "huggingface", "type": str(words)},
            exp_manager__create_checkpoint_callback=False,
        )  # fmt: skip
        values["model_alignment_strategy"] = {"sft": {"packing": False}}
        done = command("run", str(write_config(tmp_path / "config.yaml", values)))
        assert done.returncode == 0, done.stderr
        assert "40 records are 40 samples of 24 tokens; 0 truncated, 0 dropped" in done.stderr
        tokens.append({path.name: path.stat().st_mtime_ns for path in tmp_path.glob("train.jsonl_*")})
        found[processes] = numbers(tmp_path / f"log{processes}")
    assert tokens[0] == tokens[1] != {}, "the second start uses those of the first"
    assert list(found[1]) == list(range(1, 9))
    for step, values_of_one in found[1].items():
        assert found[2][step] == pytest.approx(values_of_one, rel=1e-5)
