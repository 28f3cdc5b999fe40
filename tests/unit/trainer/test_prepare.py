"""`neuron-train data prepare`: rows of exactly N tokens that are the text, whole or not there at all."""

import json
import os
import re
import threading
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from datasets import load_from_disk
from tokenizers import Tokenizer, models

from neuron_api.contract import ExitCode
from neuron_trainer import __main__
from neuron_trainer.data import row_check
from neuron_trainer.data.megatron.indexed import IndexedTokens
from neuron_trainer.data.prepare import command, inputs, outputs, parts
from neuron_trainer.data.prepare.vocabulary import END_OF_TEXT, TOKENIZER_FILE

pytestmark = pytest.mark.slow

LENGTH, VOCABULARY = 32, 300
FIRST = "".join(f"The {n}th line – with ünïcödé, \ttabs and  spaces.\r\n" for n in range(120))
SECOND = "Another file, without a line end at its end" * 30


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command's own log handlers stay out of the test process."""
    monkeypatch.setattr(command.logs, "console", lambda: None)


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
    tokenizer = Tokenizer.from_file(str(tmp_path / "out" / TOKENIZER_FILE))
    assert tokenizer.get_vocab_size() <= VOCABULARY
    ids = list(chain.from_iterable(columns(tmp_path / "out")["input_ids"]))
    text = tokenizer.decode(ids, skip_special_tokens=False)
    whole = FIRST + END_OF_TEXT + SECOND + END_OF_TEXT
    assert whole.startswith(text)
    left = tokenizer.encode(whole[len(text) :]).ids
    assert len(left) <= LENGTH, "only the part of a row at the end is dropped"
    assert ids.count(tokenizer.token_to_id(END_OF_TEXT)) == text.count(END_OF_TEXT) >= 1


def test_pieces_of_a_large_file_are_the_file(
    texts: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(texts, tmp_path / "whole")
    monkeypatch.setattr(inputs.pieces, "__defaults__", (100,))
    tokenizer = str(tmp_path / "whole" / TOKENIZER_FILE)
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


def test_when_it_fails_nothing_reads_as_whole(
    texts: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(outputs, "write_rows", killed)
    with pytest.raises(KeyboardInterrupt):
        run(texts, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_was_there_stays_when_a_new_one_fails(
    texts: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(texts, tmp_path / "out")
    before = columns(tmp_path / "out")

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(outputs, "write_rows", killed)
    with pytest.raises(KeyboardInterrupt):
        run(texts, tmp_path / "out", length=16)
    assert columns(tmp_path / "out") == before


def test_a_given_tokenizer_is_used_and_kept(texts: list[Path], tmp_path: Path) -> None:
    run(texts, tmp_path / "one")
    tokenizer = tmp_path / "one" / TOKENIZER_FILE
    run(texts[:1], tmp_path / "two", "--tokenizer", str(tokenizer))
    found, wanted = (json.loads(p.read_text()) for p in (tmp_path / "two" / TOKENIZER_FILE, tokenizer))
    assert found == wanted


def test_the_trainer_accepts_what_was_prepared(texts: list[Path], tmp_path: Path) -> None:
    run(texts, tmp_path / "out")
    assert row_check.check("data.train_dir", str(tmp_path / "out"), LENGTH, VOCABULARY, global_batch=8) == []


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
        ((), "input", "absent.txt cannot be read: No such file or directory."),
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


# ---- records, Megatron's format, interruptions ----------------------------------------------------------------------

RECORDS = [f"Record {n}: ünïcödé and\nseveral lines. " * (n % 5 + 1) for n in range(60)]
LEARN = ("--vocab-size", str(VOCABULARY))


def write_records(folder: Path, kind: str, key: str = "text") -> Path:
    path = folder / f"records.{kind}"
    if kind == "parquet":
        import pyarrow as pa
        from pyarrow import parquet

        parquet.write_table(pa.table({key: RECORDS, "other": list(range(60))}), path, row_group_size=7)
    else:
        path.write_text("\n".join(json.dumps({key: text, "other": 1}) for text in RECORDS) + "\n\n")
    return path


def prepare_documents(inputs_: list[Path], prefix: Path, *more: str) -> int:
    arguments = [str(path) for path in inputs_]
    return __main__.main(
        ["data", "prepare", "--format", "megatron", "--input", *arguments, "--output", str(prefix), *more]
    )


def documents(prefix: Path) -> list[str]:
    """Decoded, the ends shown."""
    data = IndexedTokens(prefix)
    tokenizer = Tokenizer.from_file(str(prefix.with_name(f"{prefix.name}.tokenizer") / TOKENIZER_FILE))
    return [tokenizer.decode(data[index].tolist(), skip_special_tokens=False) for index in range(len(data))]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_record_is_a_document(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs.pieces, "__defaults__", (300,))
    path = write_records(tmp_path, kind, key="content")
    assert prepare_documents([path], tmp_path / "out", *LEARN, "--text-key", "content") == ExitCode.SUCCESS
    assert documents(tmp_path / "out") == [text + END_OF_TEXT for text in RECORDS]
    assert IndexedTokens(tmp_path / "out").dtype == "uint16"


def test_a_text_file_is_one_document_whatever_its_pieces(
    texts: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs.pieces, "__defaults__", (100,))
    records = write_records(tmp_path, "jsonl")
    prepare_documents([texts[0], records, texts[1]], tmp_path / "out", *LEARN)
    assert documents(tmp_path / "out") == [one + END_OF_TEXT for one in (FIRST, *RECORDS, SECOND)]


def test_records_become_rows_too(tmp_path: Path) -> None:
    run([write_records(tmp_path, "jsonl")], tmp_path / "out")
    tokenizer = Tokenizer.from_file(str(tmp_path / "out" / TOKENIZER_FILE))
    ids = list(chain.from_iterable(columns(tmp_path / "out")["input_ids"]))
    whole = "".join(text + END_OF_TEXT for text in RECORDS)
    assert whole.startswith(tokenizer.decode(ids, skip_special_tokens=False))


def test_several_processes_write_the_same_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_records(tmp_path, "jsonl")
    prepare_documents([path], tmp_path / "one", *LEARN)
    prepare_documents([path], tmp_path / "two", *LEARN, "--processes", "2")
    for suffix in (".bin", ".idx"):
        assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()


def test_the_tokenizer_beside_the_documents_is_one_that_the_data_keys_can_name(tmp_path: Path) -> None:
    from neuron_api.config.data import TokenizerConfig
    from neuron_trainer.data import tokenizer

    path = write_records(tmp_path, "jsonl")
    prepare_documents([path], tmp_path / "out", *LEARN)
    ids = tokenizer.load(TokenizerConfig(type=str(tmp_path / "out.tokenizer")))
    data = IndexedTokens(tmp_path / "out")
    assert {int(data[index][-1]) for index in range(len(data))} == {ids.end_of_document}
    # And it is one that the command takes.
    assert prepare_documents([path], tmp_path / "again", "--tokenizer", str(tmp_path / "out.tokenizer")) == 0
    assert (tmp_path / "again.bin").read_bytes() == (tmp_path / "out.bin").read_bytes()


@pytest.mark.parametrize("kind", ["rows", "megatron"])
def test_an_interrupted_command_goes_on_with_the_parts_that_are_missing(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(inputs.pieces, "__defaults__", (300,))
    path = write_records(tmp_path, "jsonl")

    def go(output: Path) -> int:
        return run([path], output) if kind == "rows" else prepare_documents([path], output, *LEARN)

    done, write = [], parts.write

    def interrupted(part: parts.TokenFile) -> int:
        if len(done) == 5:
            raise KeyboardInterrupt
        done.append(part)
        return write(part)

    monkeypatch.setattr(parts, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path / "out")
    assert not [found for found in tmp_path.iterdir() if found.name.startswith("out")]
    again: list[parts.TokenFile] = []
    monkeypatch.setattr(parts, "write", lambda part: again.append(part) or write(part))
    with caplog.at_level("INFO"):
        assert go(tmp_path / "out") == ExitCode.SUCCESS
    assert "going on with" in caplog.text
    assert again
    assert not {part.prefix for part in again} & {part.prefix for part in done}
    assert go(tmp_path / "whole") == ExitCode.SUCCESS
    if kind == "rows":
        assert columns(tmp_path / "out") == columns(tmp_path / "whole")
    else:
        assert (tmp_path / "out.bin").read_bytes() == (tmp_path / "whole.bin").read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_other_input_does_not_go_on_with_old_parts(
    texts: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(outputs, "write_rows", killed)
        with pytest.raises(KeyboardInterrupt):
            run(texts, tmp_path / "out")
    texts[0].write_bytes(SECOND.encode())
    run(texts, tmp_path / "out")
    run(texts, tmp_path / "anew")
    assert columns(tmp_path / "out") == columns(tmp_path / "anew")


def test_progress_is_told_where_there_is_no_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(inputs.pieces, "__defaults__", (100,))
    with caplog.at_level("INFO"):
        prepare_documents([write_records(tmp_path, "jsonl")], tmp_path / "out", *LEARN)
    told = [line for line in caplog.messages if line.startswith("tokenised ")]
    assert 5 <= len(told) <= 20
    count = told[-1].split()[1]
    assert told[-1].startswith(f"tokenised {count} of {count} parts")


@pytest.mark.parametrize(
    ("content", "more", "sentence"),
    [
        ('{"text": "a"}\n{"body": "b"}\n', (),
         "line 2 of .* has no field 'text'; its fields: 'body'. Name the field that holds the text: --text-key body."),
        ('{"text": "a"}\n{"tex', (), r"line 2 of .* is not JSON: Unterminated string starting at \(column 2\). Fix the "
         "file.$"),
        ('{"text": 5}\n', (), "the field 'text' in line 1 of .* is a number, not text. Fix the record, or remove it.$"),
        ('{"text": null}\n', (), "the field 'text' in line 1 of .* is null, not text. Fix the record, or remove it.$"),
        ('{"id": "7", "content": "long text"}\n', (), "Name the field that holds the text: --text-key content.$"),
        ('{"id": 7}\n', (), "its fields: 'id'. Name the field that holds the text with --text-key.$"),
        ('["a"]\n', (), "is text, not a record with fields. Write each record as an object: "),
        ('{"input": "2+2", "output": "4"}\n', (),
         "These are records for supervised fine-tuning, which need no `data prepare`: name the file in data.train_dir"),
        ('{"text": "a"}\n', ("--seq-length", "8"), "--seq-length: Megatron data is not cut into rows."),
        ('{"text": "a"}\n', ("--processes", "0"), "--processes: 0 cannot do anything. Use 1 or more."),
        ("\n", (), "--input: it has no text."),
    ],
)  # fmt: skip
def test_a_fault_of_records_is_one_sentence(
    content: str, more: tuple[str, ...], sentence: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(content)
    tokenizer = tmp_path / "tokenizer.json"
    Tokenizer(models.BPE()).save(str(tokenizer))
    assert prepare_documents([path], tmp_path / "out", "--tokenizer", str(tokenizer), *more) == ExitCode.CONFIG
    (message,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert re.search(sentence, message) and not list(tmp_path.glob("out*")), message


def test_a_parquet_file_without_the_column_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert prepare_documents([write_records(tmp_path, "parquet", key="body")], tmp_path / "out", *LEARN) == 2
    assert "has no column 'text'; its columns: 'body', 'other'." in caplog.text
    (tmp_path / "x.parquet").write_text("PAR1")
    assert prepare_documents([tmp_path / "x.parquet"], tmp_path / "out", *LEARN) == 2
    assert "x.parquet cannot be read: Parquet file size is 4 bytes" in caplog.text


def test_a_table_with_other_separators_is_named_as_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for sign, name in zip(";\t|", ("semicolons", "tabs", "vertical bars"), strict=True):
        (tmp_path / "table.csv").write_text(f'id{sign}text\n1{sign}"Some, words"{sign}\n')
        assert prepare_documents([tmp_path / "table.csv"], tmp_path / "out", *LEARN) == 2
        assert f"line 1 of {tmp_path}/table.csv: columns are separated by {name}, not by commas. Save it" in caplog.text


@pytest.mark.parametrize("form", ["rows", "megatron"])
def test_a_data_set_of_its_own_is_replaced_with_a_warning_that_says_how_it_was_made(
    form: str, texts: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = tmp_path / "out"

    def make(inputs: list[Path], vocabulary: int) -> None:
        command = run if form == "rows" else prepare_documents
        assert command(inputs, output, "--vocab-size", str(vocabulary)) == ExitCode.SUCCESS

    make(texts, VOCABULARY)
    make(texts, VOCABULARY)
    assert "will be replaced" not in caplog.text
    make(texts, VOCABULARY + 10)
    assert f"{output} exists and will be replaced. It was made with --vocab-size {VOCABULARY}. Stop now" in caplog.text
    caplog.clear()
    make(texts[:1], VOCABULARY + 10)
    assert "It was made with another text." in caplog.text
