"""`neuron-train data prepare`: rows of exactly N tokens that are the text, whole or not there at all."""

import json
import os
import threading
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from datasets import load_from_disk
from tokenizers import Tokenizer

from neuron_api.contract import ExitCode
from neuron_trainer import __main__
from neuron_trainer.data import prepare, rows

LENGTH, VOCABULARY = 32, 300
FIRST = "".join(f"The {n}th line – with ünïcödé, \ttabs and  spaces.\r\n" for n in range(120))
SECOND = "Another file, without a line end at its end" * 30


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command's own log handlers stay out of the test process."""
    monkeypatch.setattr(prepare.logs, "console", lambda: None)


@pytest.fixture
def texts(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "first.txt", tmp_path / "second.txt"]
    for path, text in zip(paths, (FIRST, SECOND), strict=True):
        path.write_bytes(text.encode())
    return paths


def run(texts: list[Path], output: Path, *more: str, length: int = LENGTH) -> int:
    """The command line, in this process."""
    inputs = [str(path) for path in texts]
    given = more or ("--vocab-size", str(VOCABULARY))
    return __main__.main(
        ["data", "prepare", "--input", *inputs, "--output", str(output), "--seq-length", str(length), *given]
    )


def columns(output: Path) -> dict[str, list[list[int]]]:
    loaded: Any = load_from_disk(str(output))
    return {name: loaded[name][:] for name in loaded.column_names}


def test_every_row_has_n_tokens_and_its_labels_are_its_tokens(texts: list[Path], tmp_path: Path) -> None:
    assert run(texts, tmp_path / "out") == ExitCode.SUCCESS
    found = columns(tmp_path / "out")
    assert set(found) == {"input_ids", "attention_mask", "labels"}
    assert {len(row) for column in found.values() for row in column} == {LENGTH}
    assert found["labels"] == found["input_ids"]
    assert set(chain.from_iterable(found["attention_mask"])) == {1}


def test_the_text_comes_back_through_the_tokenizer(texts: list[Path], tmp_path: Path) -> None:
    run(texts, tmp_path / "out")
    tokenizer = Tokenizer.from_file(str(tmp_path / "out" / prepare.TOKENIZER_FILE))
    assert tokenizer.get_vocab_size() <= VOCABULARY
    ids = list(chain.from_iterable(columns(tmp_path / "out")["input_ids"]))
    text = tokenizer.decode(ids, skip_special_tokens=False)
    whole = FIRST + prepare.END_OF_TEXT + SECOND + prepare.END_OF_TEXT
    assert whole.startswith(text)
    left = tokenizer.encode(whole[len(text) :]).ids
    assert len(left) <= LENGTH, "only the part of a row at the end is dropped"
    assert ids.count(tokenizer.token_to_id(prepare.END_OF_TEXT)) == text.count(prepare.END_OF_TEXT) >= 1


def test_pieces_of_a_large_file_are_the_file(
    texts: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(texts, tmp_path / "whole")
    monkeypatch.setattr(prepare, "_PIECE", 100)
    tokenizer = str(tmp_path / "whole" / prepare.TOKENIZER_FILE)
    run(texts, tmp_path / "pieces", "--tokenizer", tokenizer)
    decode = Tokenizer.from_file(tokenizer).decode
    whole, pieces = (
        decode(list(chain.from_iterable(columns(tmp_path / name)["input_ids"])), skip_special_tokens=False)
        for name in ("whole", "pieces")
    )
    shorter = min(len(whole), len(pieces))
    assert whole[:shorter] == pieces[:shorter]
    assert abs(len(whole) - len(pieces)) < 4 * LENGTH


def test_the_second_time_there_is_nothing_to_do(
    texts: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(texts, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    with caplog.at_level("INFO"):
        assert run(texts, tmp_path / "out") == ExitCode.SUCCESS
    assert "nothing to do" in caplog.text
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before


def test_another_text_or_length_makes_it_anew(texts: list[Path], tmp_path: Path) -> None:
    run(texts, tmp_path / "out")
    run(texts, tmp_path / "out", length=16)
    assert {len(row) for row in columns(tmp_path / "out")["input_ids"]} == {16}
    texts[0].write_text(FIRST + "more\n" * 100)
    count = len(columns(tmp_path / "out")["input_ids"])
    run(texts, tmp_path / "out", length=16)
    assert len(columns(tmp_path / "out")["input_ids"]) > count


def test_when_it_fails_nothing_is_there(texts: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        run(texts, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first.txt", "second.txt"]


def test_what_was_there_stays_when_a_new_one_fails(
    texts: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(texts, tmp_path / "out")
    before = columns(tmp_path / "out")

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        run(texts, tmp_path / "out", length=16)
    assert columns(tmp_path / "out") == before


def test_a_given_tokenizer_is_used_and_kept(texts: list[Path], tmp_path: Path) -> None:
    run(texts, tmp_path / "one")
    tokenizer = tmp_path / "one" / prepare.TOKENIZER_FILE
    run(texts[:1], tmp_path / "two", "--tokenizer", str(tokenizer))
    found, wanted = (json.loads(p.read_text()) for p in (tmp_path / "two" / prepare.TOKENIZER_FILE, tokenizer))
    assert found == wanted


def test_the_trainer_accepts_what_was_prepared(texts: list[Path], tmp_path: Path) -> None:
    run(texts, tmp_path / "out")
    assert rows.check("data.train_dir", str(tmp_path / "out"), LENGTH, VOCABULARY, global_batch=8) == []


def test_several_processes_give_the_same_rows(texts: list[Path], tmp_path: Path) -> None:
    run(texts, tmp_path / "one")
    run(texts, tmp_path / "two", "--vocab-size", str(VOCABULARY), "--processes", "2")
    assert columns(tmp_path / "one") == columns(tmp_path / "two")
    assert threading.active_count() < os.cpu_count() + 20  # type: ignore[operator]


@pytest.mark.parametrize(
    ("more", "change", "sentence"),
    [
        (("--tokenizer", "/nowhere/tokenizer.json"), None, "--tokenizer: there is no file /nowhere/tokenizer.json"),
        (("--processes", "1"), None, "--vocab-size: it is not given, nor is --tokenizer. Give one of the two."),
        ((), "input", "--input: there is no file"),
        ((), "output", "exists and was not made by this command. Use another name."),
        ((), "length", "fewer than one row of 99999. Use more text or shorter rows."),
        (("--vocab-size", "256"), None, "--vocab-size: 256 is less than the 256 bytes and the end of text. Give at"),
        ((), "zero", "--seq-length: a row of 0 tokens predicts nothing. Use 2 or more."),
    ],
)
def test_a_fault_is_one_sentence_and_exit_code_2(
    more: tuple[str, ...], change: str | None, sentence: str, texts: list[Path], tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    output = tmp_path / "out"
    if change == "input":
        texts = [tmp_path / "absent.txt"]
    if change == "output":
        output.mkdir()
    length = {"length": 99999, "zero": 0}.get(change or "", LENGTH)
    assert run(texts, output, *more, length=length) == ExitCode.CONFIG
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert sentence in record.getMessage()
    assert not list(output.glob("*"))
