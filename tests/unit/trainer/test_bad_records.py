"""Records that are wrong: one message each, with the file, the line, the field and what to do, before anything starts.

The kind: training on what nobody wrote, or on nothing. Looked at: fields of every layout missing, empty, of another
type; layouts of another method; bytes and lines of text files; messages; records that lose all to truncation.
"""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import datasets
import pytest
import transformers

from neuron_api.config import TrainingConfig
from neuron_trainer import run_config
from neuron_trainer.data.records import build

from .conftest import alone, typed

ORACLES: Final = Path(__file__).parents[2] / "data" / "alignment"
LENGTH: Final = 32
CHATML: Final = "{% for m in messages %}[{{ m.role }}] {{ m.content }} [end] {% endfor %}"
LONG: Final = " the warm moon" * 30

QA: Final[dict[str, Any]] = {"input": "fish", "output": " give"}
PAIR: Final[dict[str, Any]] = {"prompt": "fish", "chosen": " give", "rejected": " take"}
USER: Final = {"role": "user", "content": "fish"}
ANSWER: Final = {"role": "assistant", "content": "give"}
CHAT: Final[dict[str, Any]] = {"messages": [USER, ANSWER]}
METHODS: Final = {
    "sft": {"sft": {}},
    "packed": {"sft": {"packing": True}},
    "dpo": {"dpo": {"max_prompt_length": 12}},
    "orpo": {"orpo": {"max_prompt_length": 12}},
}
Write = Callable[[Path], None]


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


def lines(*records: Any) -> Write:
    return lambda path: path.write_text("".join(json.dumps(one) + "\n" for one in records)) and None


def text(content: str) -> Write:
    return lambda path: path.write_text(content) and None


def raw(content: bytes) -> Write:
    return lambda path: path.write_bytes(content) and None


def without(record: dict[str, Any], *names: str, **changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**record, **changes}.items() if name not in names}


def turns(*messages: Any) -> Write:
    return lines(CHAT, {"messages": list(messages)})


FORM: Final = "Each record is {"
MESSAGE: Final = 'A message is {"role": "user", "content": text}'

REFUSED: Final[list[tuple[str, str, Write, tuple[str, ...]]]] = [
    # missing fields, of one's own layout and of another one
    (
        "sft",
        "no output",
        lines(QA, without(QA, "output")),
        ("line 2 of", "no field 'output'; its fields: 'input'", FORM),
    ),
    ("sft", "no input", lines(QA, without(QA, "input")), ("line 2 of", "no field 'input'; its fields: 'output'", FORM)),
    ("sft", "no fields", lines(QA, {}), ("line 2 of", "no fields 'input', 'output'; its fields: none", FORM)),
    (
        "sft",
        "pairs",
        lines(PAIR),
        ("line 1 of", "'prompt', 'chosen', 'rejected': pairs of answers are for", "dpo or orpo"),
    ),
    ("sft", "plain texts", lines({"text": "fish"}), ("line 1 of", "'text': plain text is for data prepare")),
    (
        "sft",
        "other names",
        lines({"question": "a", "answer": "b"}),
        ("rename question to input; rename answer to output",),
    ),
    (
        "dpo",
        "no prompt",
        lines(PAIR, without(PAIR, "prompt")),
        ("line 2 of", "no field 'prompt'; its fields: 'chosen', "),
    ),
    (
        "dpo",
        "no chosen",
        lines(PAIR, without(PAIR, "chosen")),
        ("line 2 of", "no field 'chosen'; its fields: 'prompt', "),
    ),
    ("orpo", "no rejected", lines(PAIR, without(PAIR, "rejected")), ("line 2 of", "no field 'rejected'", FORM)),
    (
        "dpo",
        "records of sft",
        lines(QA),
        (
            "line 1 of",
            "no fields 'prompt', 'chosen', 'rejected'; its fields: 'input', 'output'",
            "Records of one answer are for model_alignment_strategy.sft.",
        ),
    ),
    ("dpo", "messages of sft", lines(CHAT), ("no fields", "'chosen', 'rejected'", "model_alignment_strategy.sft")),
    ("orpo", "Alpaca", lines({"instruction": "a", **QA}), ("its fields: 'instruction', 'input', 'output'", ".sft")),
    (
        "dpo",
        "a question",
        lines(without(PAIR, "prompt", question="a")),
        ("no field 'prompt'", "Rename question to prompt."),
    ),
    (
        "dpo",
        "a null",
        lines(PAIR, without(PAIR, chosen=None)),
        ("the field 'chosen' in line 2 of", "is null, not text"),
    ),
    # other types
    (
        "sft",
        "a number",
        lines(without(QA, output=5)),
        ("the field 'output' in line 1 of", "is a number, not text", FORM),
    ),
    ("sft", "a list", lines(without(QA, input=["a"])), ("the field 'input' in line 1 of", "is a list, not text")),
    ("sft", "a null answer", lines(without(QA, output=None)), ("the field 'output' in line 1 of", "is null, not text")),
    ("dpo", "a truth value", lines(without(PAIR, prompt=True)), ("the field 'prompt' in line 1", "is a truth value")),
    (
        "orpo",
        "a number in a pair",
        lines(without(PAIR, rejected=0.5)),
        ("the field 'rejected' in line 1", "is a number"),
    ),
    ("sft", "no object", lines(QA, [1, 2]), ("line 2 of", "is a list, not a record with fields", FORM)),
    ("dpo", "text for an object", lines(PAIR, "fish"), ("line 2 of", "is text, not a record with fields", FORM)),
    # messages
    (
        "sft",
        "messages of text",
        lines({"messages": "fish"}),
        ("the field 'messages' in line 1 of", "is text, not a list of m"),
    ),
    ("sft", "no messages", lines({"messages": []}), ("the list 'messages' in line 1 of", "has no messages", MESSAGE)),
    (
        "sft",
        "a message of text",
        turns("fish"),
        ("message 1 of 'messages' in line 2 of", "is text, not an object", MESSAGE),
    ),
    (
        "sft",
        "no role",
        turns({"content": "a"}),
        ("message 1 of 'messages' in line 2 of", "no field 'role'; its fields: 'c"),
    ),
    (
        "sft",
        "an unknown role",
        turns(USER, {"role": "bot", "content": "a"}),
        (
            "message 2 of 'messages' in line 2 of",
            "has the role 'bot'",
            "Write one of system, developer, user, assistant, tool",
        ),
    ),
    (
        "sft",
        "an unknown sender",
        lines({"conversations": [{"from": "alien", "value": "a"}]}),
        (
            "message 1 of 'conversations' in line 1 of",
            "has the sender 'alien'",
            "Write one of system, human, user, gpt",
        ),
    ),
    (
        "sft",
        "no content",
        turns(USER, {"role": "assistant"}),
        ("the field 'content' of message 2 of", "in line 2 of", "null"),
    ),
    (
        "sft",
        "content of another type",
        turns(USER, {**ANSWER, "content": 7}),
        ("message 2 of", "is a number, not text"),
    ),
    (
        "sft",
        "a picture",
        turns({**USER, "content": [{"type": "image_url", "image_url": {}}]}, ANSWER),
        ("message 1 of 'messages' in line 2 of", 'has a part "image_url", not text', "Only text can be learned"),
    ),
    (
        "sft",
        "no answer",
        turns(USER),
        ("line 2 of", "has no message of the assistant that is learned", "Add its answer"),
    ),
    (
        "sft",
        "an answer that is not learned",
        turns(USER, {**ANSWER, "weight": 0}),
        ("line 2 of", "no message of the assist"),
    ),
    ("sft", "another weight", turns(USER, {**ANSWER, "weight": 2}), ("message 2 of", "the weight 2", "Write 1, or 0")),
    (
        "sft",
        "tools of another type",
        lines({**CHAT, "tools": 3}),
        ("the field 'tools' in line 1 of", "not a list of objects"),
    ),
    (
        "sft",
        "tools that are not JSON",
        lines({**CHAT, "tools": "[{"}),
        ("the field 'tools' in line 1 of", "is not JSON"),
    ),
    (
        "sft",
        "two systems",
        lines({"system": "a", "messages": [{"role": "system", "content": "b"}, USER, ANSWER]}),
        ("line 1 of", "has a field 'system' and a message of the system", "Keep one of them"),
    ),
    (
        "dpo",
        "answers that share nothing",
        lines({"chosen": [USER, ANSWER], "rejected": [ANSWER]}),
        ("line 1 of", "has no prompt: 'chosen' and 'rejected' have no message of the user in common", FORM),
    ),
    (
        "dpo",
        "an answer of the user",
        lines({"prompt": [USER], "chosen": [ANSWER], "rejected": [ANSWER, USER]}),
        ("the last message of 'rejected' in line 1 of", "is of the role 'user'", "End both answers with a message"),
    ),
    (
        "dpo",
        "another question in an answer",
        lines({"prompt": "fish", "chosen": [{**USER, "content": "fish "}, ANSWER], "rejected": [USER, ANSWER]}),
        (
            "line 1 of",
            "an answer that begins with the role 'user', behind a 'prompt' that ends with 'user'",
            "Begin both",
        ),
    ),
    # what is left after truncation
    (
        "sft",
        "no room for an answer",
        lines({**QA, "input": LONG}),
        ("no record of", "fits into 32 tokens", "Use a larger"),
    ),
    (
        "packed",
        "longer than a row",
        lines({**QA, "output": LONG}),
        ("no record of", "fits into 32 tokens", "Use a larger"),
    ),
    (
        "sft",
        "empty answers",
        lines(*[{**QA, "output": " "}] * 9),
        ("every record has an empty answer", "First: line 1 of"),
    ),
    (
        "orpo",
        "empty answers of pairs",
        lines(*[{**PAIR, "chosen": ""}] * 9),
        ("every record has an empty answer", "line 1"),
    ),
    (
        "dpo",
        "equal answers",
        lines(*[{**PAIR, "rejected": " give"}] * 9),
        ("in every pair", "the same tokens", "First: line 1"),
    ),
    (
        "dpo",
        "equal after truncation",
        lines(*[{**PAIR, "chosen": LONG, "rejected": LONG + " take"}] * 9),
        ("in every pair",),
    ),
    ("dpo", "too few", lines(*[PAIR] * 7), ("its records are 7 samples, fewer than one global batch of 8",)),
    # bytes and lines
    ("dpo", "an empty file", text(""), ("train.jsonl has no records", FORM)),
    ("orpo", "blank lines", text("\n \r\n\t\n"), ("train.jsonl has no records", FORM)),
    (
        "dpo",
        "a field twice",
        text('{"prompt": "a", "chosen": "b", "chosen": "c", "rejected": "d"}'),
        ("line 1 of", "twice"),
    ),
    ("dpo", "no JSON", text(json.dumps(PAIR) + "\n\n{'prompt': 'a'}\n"), ("line 3 of", "is not JSON", FORM)),
    ("dpo", "cut off", text(json.dumps(PAIR) + "\n" + json.dumps(PAIR)[:-4]), ("line 2 of", "is not JSON")),
    (
        "dpo",
        "half a pair of surrogates",
        text('{"prompt": "\\ud83d", "chosen": "a", "rejected": "b"}'),
        ("surrogate", "line 1"),
    ),
    (
        "dpo",
        "Latin-1",
        raw(b'{"prompt": "n\xe9e", "chosen": "a", "rejected": "b"}'),
        ("line 1", "Save the file as UTF-8."),
    ),
    ("dpo", "an archive", raw(b"PK\x03\x04 and more"), ("is a ZIP archive", "Extract the text")),
]


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
