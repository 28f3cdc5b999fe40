"""Pairs of answers as samples: the tokens are those of the recorded oracles, however a pair is written."""

import gzip
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import datasets
import pytest
import transformers

from neuron_api.config import TokenizerConfig, TrainingConfig
from neuron_trainer import run_config
from neuron_trainer.data import source
from neuron_trainer.data.loader import Steps
from neuron_trainer.data.samples import TokenBounds
from neuron_trainer.errors import InputError, TokenError
from neuron_trainer.parallel import Share
from neuron_trainer.preflight import preflight

from .conftest import alone, train, typed

ORACLES: Final = Path(__file__).parents[2] / "data" / "alignment"
TRUNCATION: Final = json.loads((ORACLES / "dpo" / "truncation.json").read_text())
METHODS: Final = ("dpo", "orpo")


def preferring(tiny: Path, file: Path, length: int, method: str = "dpo", **keys: Any) -> TrainingConfig:
    """A job on pairs with the oracles' tokenizer."""
    values = alone(tiny, file.parent / "log", data__train_dir=str(file), data__seq_length=length)
    values["data"]["tokenizer"] = {"library": "huggingface", "type": str(ORACLES / "tokenizer")}
    values["model"]["encoder_seq_length"] = length
    values["model_alignment_strategy"] = {method: {"max_prompt_length": length // 2, **keys}}
    return run_config.with_record_length(typed(values))


def write(folder: Path, records: list[Any]) -> Path:
    file = folder / "pairs.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    return file


def rows(config: TrainingConfig) -> list[list[tuple[list[int], list[int]]]]:
    """Ids and labels of the two rows of each sample, padding left out."""
    samples = source.samples(config, "train", is_builder=True)
    batch = samples.take(range(len(samples)))
    length = config.model.encoder_seq_length
    assert batch["input_ids"].shape == batch["labels"].shape == (len(samples), 2, length)
    found = []
    for ids, labels in zip(batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True):
        sizes = [max(place for place in range(length) if row[place] != 0) + 1 for row in ids]
        assert all(set(row[size:]) <= {-100} for row, size in zip(labels, sizes, strict=True))
        found.append([(row[:n], label[:n]) for row, label, n in zip(ids, labels, sizes, strict=True)])
    return found


@pytest.mark.parametrize("mode", ["keep_start", "keep_end"])
@pytest.mark.parametrize("method", METHODS)
def test_pairs_are_split_and_cut_as_in_the_oracle(method: str, mode: str, tiny: Path, tmp_path: Path) -> None:
    cases, settings = TRUNCATION["rows"], TRUNCATION["settings"]
    assert len(cases) == 13
    file = write(tmp_path, [{name: case[name] for name in ("prompt", "chosen", "rejected")} for case in cases])
    lengths = {"max_prompt_length": settings["max_prompt_length"], "truncation_mode": mode}
    found = rows(preferring(tiny, file, settings["seq_length"], method, **lengths))
    for sample, case in zip(found, cases, strict=True):
        wanted = [case[mode]["behaviours_md"][name] for name in ("chosen", "rejected")]
        assert sample == [(row["input_ids"], row["labels"]) for row in wanted], case["what"]


def test_pairs_that_fit_are_prompt_and_answer(tiny: Path, tmp_path: Path) -> None:
    oracle = json.loads((ORACLES / "pairs.json").read_text())
    (tmp_path / "pairs.jsonl").write_bytes((ORACLES / "pairs.jsonl").read_bytes())
    config = preferring(tiny, tmp_path / "pairs.jsonl", oracle["seq_length"])
    for sample, pair in zip(rows(config), oracle["pairs"], strict=True):
        wanted = [(pair["prompt_ids"], pair[name]) for name in ("chosen_ids", "rejected_ids")]
        assert sample == [(prompt + answer, [-100] * len(prompt) + answer) for prompt, answer in wanted]
    assert source.samples(config, "train", is_builder=True).counts == {  # type: ignore[attr-defined]
        "records": 16,
        "samples": 16,
        "truncated": 0,
        "dropped": 0,
    }


def test_a_batch_has_the_pairs_of_a_process_with_targets_in_their_places(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_bytes((ORACLES / "pairs.jsonl").read_bytes())
    config = preferring(tiny, tmp_path / "pairs.jsonl", 64)
    samples = source.samples(config, "train", is_builder=True)
    batch = Steps(samples, 12, Share(1, 2), keeps_rest=True, vocabulary=TokenBounds(128, "data.train_dir"))[1]
    assert batch["input_ids"].shape == batch["labels"].shape == (6, 2, 64)
    taken = samples.take([13, 15])
    assert batch["input_ids"][:2].equal(taken["input_ids"])
    assert batch["labels"][:2, :, :-1].equal(taken["labels"][:, :, 1:])
    assert batch["labels"][:, :, -1].eq(-100).all()
    assert batch["labels"][2:].eq(-100).all(), "places without a sample have no target"


def test_a_token_outside_of_the_vocabulary_is_reported_with_its_row(tiny: Path, tmp_path: Path) -> None:
    pairs = [json.loads(line) for line in (ORACLES / "pairs.jsonl").read_text().splitlines()]
    samples = source.samples(preferring(tiny, write(tmp_path, pairs), 64), "train", is_builder=True)
    ids = samples.take(range(16))["input_ids"]
    highest = int(ids.max())
    sample, row, place = ids.eq(highest).nonzero()[0].tolist()
    with pytest.raises(TokenError) as refused:
        Steps(samples, 16, Share(0, 1), vocabulary=TokenBounds(highest, "data.train_dir"))[0]
    answer = ("chosen", "rejected")[row]
    assert f"sample {sample}, {answer}, has token {highest} at place {place}" in str(refused.value)


# ---- messages -------------------------------------------------------------------------------------------------------

CHATML: Final = (
    "{% for m in messages %}[{{ m.role }}] {{ m.content }} [end] {% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)
USER: Final = {"role": "user", "content": "fish"}
GOOD: Final = {"role": "assistant", "content": "give"}
BAD: Final = {"role": "assistant", "content": "take red"}
MORE: Final = [USER, GOOD, {"role": "user", "content": "and"}]


@pytest.fixture(scope="module")
def chatting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The oracles' tokenizer with a chat template."""
    folder = tmp_path_factory.mktemp("chatting")
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(ORACLES / "tokenizer"))
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(str(folder))
    return folder


def comparing(tiny: Path, chatting: Path, file: Path, length: int = 64, **keys: Any) -> TrainingConfig:
    """As `preferring`, with the tokenizer that has a template."""
    config = preferring(tiny, file, length, **keys)
    tokenizer = TokenizerConfig(library="huggingface", type=str(chatting))
    return config.model_copy(update={"data": config.data.model_copy(update={"tokenizer": tokenizer})})


def written(chatting: Path, prompt: list[Any], answer: Any) -> tuple[list[int], list[int]]:
    """Prompt and answer as the template writes them, and the answer's tokens as labels; the first of them spans the
    prompt's last space, too."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(chatting))
    ids = tokenizer.apply_chat_template([*prompt, answer], return_dict=False)
    begin = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False)
    end = len(begin) - 1
    assert ids[:end] == begin[:end]
    assert ids[end] != begin[end]
    return ids, [-100] * end + ids[end:]


def shared(message: dict[str, str]) -> dict[str, str]:
    senders = {"user": "human", "assistant": "gpt"}
    return {"from": senders[message["role"]], "value": message["content"]}


@pytest.mark.parametrize(
    ("record", "prompt"),
    [
        ({"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]}, [USER]),
        ({"prompt": MORE, "chosen": [GOOD], "rejected": [BAD]}, MORE),
        ({"chosen": [USER, GOOD], "rejected": [USER, BAD]}, [USER]),
        ({"chosen": [*MORE, GOOD], "rejected": [*MORE, BAD]}, MORE),
        ({"prompt": "fish", "chosen": [USER, GOOD], "rejected": [USER, BAD]}, [USER]),
        ({"prompt": " fish. ", "chosen": [USER, GOOD], "rejected": [USER, BAD], "messages": [USER, GOOD]}, [USER]),
        ({"prompt": "fish", "chosen": [*MORE, GOOD], "rejected": [*MORE, BAD]}, MORE),
        ({"prompt": "fish", "chosen": [GOOD], "rejected": [BAD]}, [USER]),
        ({"prompt": "fish", "chosen": GOOD, "rejected": BAD}, [USER]),
        ({"prompt": [USER], "chosen": "give", "rejected": "take red"}, [USER]),
        ({"prompt": [USER], "chosen": [USER, GOOD], "rejected": [USER, BAD]}, [USER]),
        ({"prompt": None, "chosen": [USER, GOOD], "rejected": [USER, BAD]}, [USER]),
        ({"conversations": [shared(USER)], "chosen": shared(GOOD), "rejected": shared(BAD)}, [USER]),
    ],
)
def test_messages_of_a_pair_may_be_written_in_several_ways(
    record: Any, prompt: list[Any], tiny: Path, chatting: Path, tmp_path: Path
) -> None:
    found = rows(comparing(tiny, chatting, write(tmp_path, [record]), 128))
    assert found == [[written(chatting, prompt, answer) for answer in (GOOD, BAD)]]


def test_equal_conversations_share_all_but_the_answer(tiny: Path, chatting: Path, tmp_path: Path) -> None:
    found = rows(comparing(tiny, chatting, write(tmp_path, [{"chosen": [USER, GOOD], "rejected": [USER, GOOD]}])))
    assert found == [[written(chatting, [USER], GOOD)] * 2]


def test_what_the_user_says_in_an_answer_is_not_learned(tiny: Path, chatting: Path, tmp_path: Path) -> None:
    pair = {"prompt": [USER], "chosen": [BAD, USER, GOOD], "rejected": [BAD]}
    ((chosen, rejected),) = rows(comparing(tiny, chatting, write(tmp_path, [pair]), 128))
    ids, labels = written(chatting, [USER, BAD, USER], GOOD)
    begin = len(rejected[0])
    assert rejected == written(chatting, [USER], BAD)
    assert chosen == (ids, [*rejected[1], *labels[begin:]])


@pytest.mark.parametrize("mode", ["keep_start", "keep_end"])
def test_a_conversation_that_is_too_long_is_cut_as_text_is(
    mode: str, tiny: Path, chatting: Path, tmp_path: Path
) -> None:
    pair = {"prompt": MORE, "chosen": [GOOD], "rejected": [BAD]}
    config = comparing(tiny, chatting, write(tmp_path, [pair]), 40, max_prompt_length=8, truncation_mode=mode)
    for (ids, labels), answer in zip(rows(config)[0], (GOOD, BAD), strict=True):
        whole, learned = written(chatting, MORE, answer)
        end = learned.count(-100)
        assert len(whole) > 40
        assert ids == (whole[:8] if mode == "keep_start" else whole[end - 8 : end]) + whole[end : end + 32]
        assert labels == [-100] * 8 + learned[end : end + 32]


def as_saved(path: Path, records: list[Any]) -> None:
    rows = datasets.Dataset.from_list(records)
    datasets.DatasetDict({"train": rows, "test": rows.select([0])}).save_to_disk(str(path))


def as_folder(path: Path, records: list[Any]) -> None:
    path.mkdir()
    for number, record in enumerate(records):
        (path / f"part-{number}.jsonl.gz").write_bytes(gzip.compress(json.dumps(record).encode()))
    (path / "README.md").write_text("What these are.")
    (path / "part-0.jsonl.gz_train_0_idx.json").write_text("{}")


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("pairs.json", lambda path, records: path.write_text(json.dumps(records, indent=1))),
        ("pairs.parquet", lambda path, records: datasets.Dataset.from_list(records).to_parquet(str(path))),
        ("saved", lambda path, records: datasets.Dataset.from_list(records).save_to_disk(str(path))),
        ("splits", as_saved),
        ("folder", as_folder),
    ],
)
@pytest.mark.parametrize("has_messages", [False, True])
def test_pairs_are_read_from_every_form_of_file(
    has_messages: bool, name: str, save: Callable[[Path, Any], None], tiny: Path, chatting: Path, tmp_path: Path
) -> None:
    pairs = [
        {"prompt": "fish", "chosen": " give", "rejected": " take red"},
        {"prompt": "a", "chosen": "", "rejected": "b"},
    ]
    if has_messages:
        pairs = [
            {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},
            {"prompt": MORE, "chosen": [BAD], "rejected": [GOOD]},
        ]
    expected = rows(comparing(tiny, chatting, write(tmp_path, pairs), 128))
    save(tmp_path / name, pairs)
    assert rows(comparing(tiny, chatting, tmp_path / name, 128)) == expected


def test_the_split_of_a_part_is_read(tiny: Path, chatting: Path, tmp_path: Path) -> None:
    as_saved(tmp_path / "splits", [{"prompt": "fish", "chosen": " give", "rejected": " take"}] * 3)
    config = comparing(tiny, chatting, tmp_path / "splits")
    data = config.data.model_copy(update={"test_dir": config.data.train_dir})
    config = config.model_copy(update={"data": data})
    assert [len(source.samples(config, part, is_builder=True)) for part in ("train", "test")] == [3, 1]


def test_tokens_on_disk_are_those_of_the_lengths_and_the_mode(tiny: Path, chatting: Path, tmp_path: Path) -> None:
    """What changes tokens is another entry; dpo and orpo share one."""
    file = write(
        tmp_path,
        [{"prompt": case["prompt"], **{n: case[n] for n in ("chosen", "rejected")}} for case in TRUNCATION["rows"]],
    )
    seen = []
    for keys in ({}, {"max_prompt_length": 12}, {"max_prompt_length": 12, "truncation_mode": "keep_end"}):
        seen.append(rows(preferring(tiny, file, 32, **keys)))
        assert rows(preferring(tiny, file, 32, "orpo", **keys)) == seen[-1]
    assert seen[0] != seen[1] != seen[2] != seen[0]
    assert len(list(tmp_path.glob("*_idx.json"))) == 3


# ---- a run ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("method", METHODS)
def test_a_job_on_pairs_is_checked_trains_and_validates(
    method: str, tiny: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """From files of pairs in both forms to the history; one of the validation's pairs is too long."""
    pairs = [json.loads(line) for line in (ORACLES / "pairs.jsonl").read_text().splitlines()]
    long = {**pairs[0], "prompt": pairs[0]["prompt"] * 20}
    (tmp_path / "val.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in [*pairs[:7], long]))
    values = alone(
        tiny,
        tmp_path / "log",
        data__train_dir=str(write(tmp_path, pairs)),
        data__val_dir=str(tmp_path / "val.jsonl"),
        data__seq_length=64,
        data__tokenizer={"library": "huggingface", "type": str(ORACLES / "tokenizer")},
        model__model_config=str(ORACLES / "weights" / "config.json"),
        model__encoder_seq_length=64,
        trainer__max_steps=2,
        trainer__limit_val_batches=1,
        trainer__val_check_interval=2,
        exp_manager__create_checkpoint_callback=False,
    )
    values["model_alignment_strategy"] = {method: {"max_prompt_length": 32}}
    with caplog.at_level(logging.INFO):
        preflight.check(run_config.with_record_length(typed(values)), 1, tmp_path / "log")
    assert "data.train_dir: 16 records are 16 samples of 64 tokens; 0 truncated, 0 dropped." in caplog.text
    assert "data.val_dir: 8 records are 8 samples of 64 tokens; 1 truncated, 0 dropped." in caplog.text
    folder = train(values)
    (validation,) = map(json.loads, (folder / "validations.jsonl").read_text().splitlines())
    assert validation["step"] == 2
    assert validation["val_loss"] > 0
    (start,) = map(json.loads, (folder / "starts.jsonl").read_text().splitlines())
    counts = {"records": 8, "samples": 8, "truncated": 1, "dropped": 0}
    assert start["records"] == {"train": {**counts, "records": 16, "samples": 16, "truncated": 0}, "validation": counts}


def test_records_of_one_answer_are_refused_before_anything_starts(tiny: Path, chatting: Path, tmp_path: Path) -> None:
    file = write(tmp_path, [{"input": "fish", "output": "give"}] * 9)
    with pytest.raises(InputError) as refused:
        preflight.check(comparing(tiny, chatting, file), 1, tmp_path / "log")
    (finding,) = [one for one in refused.value.findings if one.key == "data.train_dir"]
    assert f"line 1 of {file} has no fields 'prompt', 'chosen', 'rejected'" in finding.message
