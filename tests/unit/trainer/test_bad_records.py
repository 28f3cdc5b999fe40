"""Records that are wrong: one message each, with the file, the line, the field and what to do, before anything starts.

The kind: training on what nobody wrote, or on nothing. Looked at: fields of every layout missing, empty, of another
type; layouts of another method; bytes and lines of text files; messages; records that lose all to truncation.
"""

import json
import logging
from pathlib import Path
from typing import Any, Final

import datasets
import pytest
import transformers

from bad_records import CHATML, LENGTH, LONG, METHODS, PAIR, QA, REFUSED, Write, lines, raw, text
from neuron_api.config import TrainingConfig
from neuron_trainer import run_config
from neuron_trainer.data.records import build

from .conftest import alone, typed

ORACLES: Final = Path(__file__).parents[2] / "data" / "alignment"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The oracles' tokenizer with a chat template."""
    folder = tmp_path_factory.mktemp("tokenizer")
    made = transformers.AutoTokenizer.from_pretrained(str(ORACLES / "tokenizer"))
    made.chat_template = CHATML
    made.save_pretrained(str(folder))
    return folder


def aligning(method: str, tiny: Path, tokenizer: Path, file: Path, **changes: Any) -> TrainingConfig:
    values = alone(tiny, file.parent / "log", data__train_dir=str(file), data__seq_length=LENGTH, **changes)
    values["data"]["tokenizer"] = {"library": "huggingface", "type": str(tokenizer)}
    values["model_alignment_strategy"] = METHODS[method]
    return run_config.with_record_length(typed(values))


@pytest.mark.parametrize(
    ("method", "write", "parts"),
    [case[:1] + case[2:] for case in REFUSED],
    ids=[f"{one[0]}-{one[1]}" for one in REFUSED],
)
def test_a_record_that_is_wrong_is_one_message(
    method: str, write: Write, parts: tuple[str, ...], tiny: Path, tokenizer: Path, tmp_path: Path
) -> None:
    write(tmp_path / "train.jsonl")
    findings = build.check(aligning(method, tiny, tokenizer, tmp_path / "train.jsonl"), "train", 128)
    findings = [
        one for one in findings if "fewer than one global batch" not in one.message or "too few" in str(parts)
    ] or (findings)
    assert len(findings) == 1, findings
    assert findings[0].key == "data.train_dir"
    assert findings[0].remedy
    message = str(findings[0])
    assert str(tmp_path) in message or "global batch" in message
    assert [part for part in parts if part not in message] == [], message


PASSED: Final[list[tuple[str, str, Write, str]]] = [
    ("dpo", "CRLF and blank lines", raw(b"\r\n".join([json.dumps(PAIR).encode(), b""] * 9)), "9 records are 9 samples"),
    (
        "dpo",
        "a mark of UTF-8",
        raw(b"\xef\xbb\xbf" + b"\n".join([json.dumps(PAIR).encode()] * 9)),
        "9 records are 9 samples",
    ),
    ("dpo", "no line end", text("\n".join([json.dumps(PAIR)] * 9)), "9 records are 9 samples"),
    (
        "sft",
        "some are dropped",
        lines(*[QA] * 8, {**QA, "input": LONG}),
        "1 of 9 records are dropped: no token of their answer fits into 32 tokens (first: line 9 of",
    ),
    ("sft", "an empty answer", lines(*[QA] * 8, {**QA, "output": ""}), "1 of 9 records have an empty answer"),
    ("dpo", "an empty rejected answer", lines(*[PAIR] * 8, {**PAIR, "rejected": ""}), "have an empty answer"),
    (
        "dpo",
        "equal answers",
        lines(*[PAIR] * 8, {**PAIR, "rejected": " give"}),
        "1 of 9 pairs have the same tokens for chosen and rejected (first: line 9 of",
    ),
    ("orpo", "equal answers alone", lines(*[{**PAIR, "rejected": " give"}] * 9), "9 of 9 pairs have the same tokens"),
    ("dpo", "a prompt longer than everything", lines(*[{**PAIR, "prompt": LONG}] * 9), "9 truncated, 0 dropped"),
    ("dpo", "unused fields", lines(*[{**PAIR, "score": 3, "id": None}] * 9), "fields that are not used: score (in 9)"),
    (
        "packed",
        "an answer that fits into no row",
        lines(*[QA] * 99, {**QA, "output": LONG}),
        "1 of 100 records are dropped",
    ),
]


@pytest.mark.parametrize(
    ("method", "write", "report"),
    [case[:1] + case[2:] for case in PASSED],
    ids=[f"{one[0]}-{one[1]}" for one in PASSED],
)
def test_what_became_of_the_records_is_reported_at_every_start(
    method: str,
    write: Write,
    report: str,
    tiny: Path,
    tokenizer: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    write(tmp_path / "train.jsonl")
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            assert build.check(aligning(method, tiny, tokenizer, tmp_path / "train.jsonl"), "train", 128) == []
        assert report in caplog.text


def test_a_saved_data_set_without_a_split_for_the_part_is_refused(tiny: Path, tokenizer: Path, tmp_path: Path) -> None:
    rows = datasets.Dataset.from_list([PAIR] * 9)
    datasets.DatasetDict({"first": rows, "second": rows}).save_to_disk(str(tmp_path / "pairs"))
    (finding,) = build.check(aligning("dpo", tiny, tokenizer, tmp_path / "pairs"), "train", 128)
    assert "has the splits first, second, and none for train. Name the directory of one of them" in str(finding)


def test_a_padding_token_that_the_model_does_not_have_is_reported(tiny: Path, tokenizer: Path, tmp_path: Path) -> None:
    """Found before a step fails: a token that was added to the tokenizer alone."""
    lines(*[QA] * 9)(tmp_path / "train.jsonl")
    made = transformers.AutoTokenizer.from_pretrained(str(tokenizer))
    made.add_special_tokens({"pad_token": "[PAD]"})
    made.save_pretrained(str(tmp_path / "padded"))
    (finding,) = build.check(aligning("sft", tiny, tmp_path / "padded", tmp_path / "train.jsonl"), "train", 128)
    assert "it gave token id 128, the model's vocab_size is 128" in str(finding)
