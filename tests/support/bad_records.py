"""Files of records that are wrong: method, what is wrong, how to write the file, words of the message."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

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
