"""A file is read as what it is, whatever its name, compression and encoding, or refused with its file and line.

The kind: data whose syntax or damage would be trained on (JSON of a .ndjson, bytes of a .gz, U+FFFD of a Latin-1 text).
Looked at: every suffix in any case, five compressions, six encodings, lists, pretty-printed records, CSV, TSV,
parquet, both forms of Arrow; what is binary, cut off, compressed twice, a pipe, a directory; with one
process and with two.
"""

import bz2
import gzip
import json
import lzma
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pytest
from pyarrow import parquet
from transformers import AutoTokenizer

from neuron_api.contract import ExitCode
from neuron_trainer import __main__
from neuron_trainer.data.megatron.indexed import IndexedTokens
from neuron_trainer.data.prepare import command, inputs
from neuron_trainer.data.prepare.vocabulary import END_OF_TEXT

pytestmark = pytest.mark.slow

TEXTS = [f"Récord {n}: ünïcödé and\nseveral lines. " * (n % 4 + 1) for n in range(20)]
LEARN = ("--vocab-size", "300")


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command.logs, "console", lambda: None)


def prepare(path: Path, prefix: Path, *more: str) -> int:
    return __main__.main(
        ["data", "prepare", "--format", "megatron", "--input", str(path), "--output", str(prefix), *LEARN, *more]
    )


def documents(prefix: Path) -> list[str]:
    data = IndexedTokens(prefix)
    tokenizer = AutoTokenizer.from_pretrained(str(prefix.with_name(f"{prefix.name}.tokenizer")))
    return [tokenizer.decode(data[index]).removesuffix(END_OF_TEXT) for index in range(len(data))]


def lines(texts: list[str] = TEXTS) -> bytes:
    return "".join(json.dumps({"text": text, "n": 1}, ensure_ascii=False) + "\n" for text in texts).encode()


def as_list(texts: list[str] = TEXTS) -> bytes:
    return ("\n " + json.dumps([{"text": text} for text in texts], indent=1)).encode()


def pretty(texts: list[str] = TEXTS) -> bytes:
    return "\n".join(json.dumps({"text": text}, indent=2) for text in texts).encode()


def comma(delimiter: str) -> bytes:
    rows = "".join(f'{n}{delimiter}"{text}"\r\n' for n, text in enumerate(TEXTS))
    return f"n{delimiter}text\r\n{rows}".encode()


def column() -> bytes:
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.table({"text": TEXTS, "n": list(range(20))}), sink, row_group_size=7)
    return sink.getvalue().to_pybytes()


def arrow(writer: Any) -> bytes:
    table, sink = pa.table({"text": TEXTS}), pa.BufferOutputStream()
    with writer(sink, table.schema) as opened:
        opened.write_table(table, 6)
    return sink.getvalue().to_pybytes()


def packed(codec: str) -> Callable[[bytes], bytes]:
    def compress(content: bytes) -> bytes:
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, codec) as stream:
            stream.write(content)
        return sink.getvalue().to_pybytes()

    return compress


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": packed("zstd"), "lz4": packed("lz4"),
}  # fmt: skip
RECORDS = {
    "x.ndjson": lines(), "x.JSONL": lines(), "x.Json": lines(), "x.jsonlines": lines(), "list.jsonl": as_list(),
    "list.json": as_list(), "list.JSON": as_list(), "x.json": pretty(), "one.jsonl": pretty(), "x.csv": comma(","),
    "x.tsv": comma("\t"), "x.parquet": column(), "x.data": column(), "x.PQ": column(),
    "x.arrow": arrow(pyarrow.ipc.new_stream), "x.feather": arrow(pyarrow.ipc.new_file),
    "bom.jsonl": b"\xef\xbb\xbf" + lines(), "crlf.jsonl": lines().replace(b"\n", b"\r\n"),
    "blank.jsonl": b"\n \n" + lines() + b"\n\n", "wide.jsonl": lines().decode().encode("utf-16"),
    **{f"x.jsonl.{suffix}": pack(lines()) for suffix, pack in COMPRESSIONS.items()},
    **{f"x.JSON.{suffix.upper()}": pack(as_list()) for suffix, pack in COMPRESSIONS.items()},
    "misnamed.jsonl": gzip.compress(lines()), "plain.jsonl.gz": lines(), "x.csv.gz": gzip.compress(comma(",")),
    "two.jsonl.gz": gzip.compress(lines(TEXTS[:9])) + gzip.compress(lines(TEXTS[9:])),
    "two.jsonl.zst": packed("zstd")(lines(TEXTS[:9])) + packed("zstd")(lines(TEXTS[9:])),
}  # fmt: skip


@pytest.mark.parametrize("name", RECORDS)
def test_records_are_documents_whatever_holds_them(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs.pieces, "__defaults__", (300,))
    path = tmp_path / name
    path.write_bytes(RECORDS[name])
    assert prepare(path, tmp_path / "out") == ExitCode.SUCCESS
    assert documents(tmp_path / "out") == TEXTS
    assert not list(tmp_path.glob(".*")), "no copy is left behind"


TEXT = "Ein größerer Text, né à Œuf.\n" * 40


@pytest.mark.parametrize(("name", "content", "more"), [
    ("utf-8", TEXT.encode(), ()),
    ("mark", b"\xef\xbb\xbf" + TEXT.encode(), ()),
    ("utf-16", TEXT.encode("utf-16"), ()),
    ("utf-32", TEXT.encode("utf-32"), ()),
    ("cp1252", TEXT.encode("cp1252"), ("--encoding", "cp1252")),
    ("no mark", TEXT.encode("utf-16-le"), ("--encoding", "utf-16-le")),
    ("packed", gzip.compress(TEXT.encode("utf-16")), ()),
])  # fmt: skip
def test_a_text_is_one_document_in_any_encoding(
    name: str, content: bytes, more: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs.pieces, "__defaults__", (100,))
    (tmp_path / "text.txt").write_bytes(content)
    assert prepare(tmp_path / "text.txt", tmp_path / "out", *more) == ExitCode.SUCCESS
    assert documents(tmp_path / "out") == [TEXT]


HEAD = lines(TEXTS[:3]).count(b"\n")
REFUSED: dict[str, tuple[bytes, str]] = {
    "latin.txt": (b"one\ntwo\nn\xe9e\n", "line 3 of latin.txt is not UTF-8: byte 0xe9"),
    "latin.jsonl": (lines() + b'{"text": "n\xe9e"}\n', "line 21 of latin.jsonl is not UTF-8: byte 0xe9"),
    "latin.txt.gz": (gzip.compress(b"one\nn\xe9e\n"), "line 2 of latin.txt.gz is not UTF-8"),
    "nul.txt": (b"one\ntwo\0\n", "nul.txt is not text: line 2 has a NUL byte. If it is text in UTF-16"),
    "a.pdf": (b"%PDF-1.7 abc", "a.pdf is a PDF, not text"),
    "a.docx": (b"PK\x03\x04" + b"a" * 99, "a.docx is a ZIP archive"),
    "a.parquet": (b"nothing of the kind", "a.parquet is not a parquet file"),
    "b.parquet": (column()[:-50], "b.parquet cannot be read: "),
    "b.arrow": (arrow(pyarrow.ipc.new_file)[:-50], "b.arrow cannot be read: "),
    "cut.jsonl.gz": (gzip.compress(lines())[:-20], "cut.jsonl.gz cannot be decompressed"),
    "cut.jsonl.zst": (packed("zstd")(lines())[:-20], "cut.jsonl.zst cannot be "),
    "cut.jsonl.xz": (lzma.compress(lines())[:-20], "cut.jsonl.xz cannot be decompressed"),
    "damaged.jsonl.bz2": (bz2.compress(lines())[:40] + b"xxxx" * 9, "damaged.jsonl.bz2 cannot be "),
    "twice.jsonl.gz": (gzip.compress(gzip.compress(lines())), "twice.jsonl.gz is compressed twice. Decompress it once"),
    "packed.parquet.gz": (gzip.compress(column()), "packed.parquet.gz is a compressed parquet file."),
    "records.txt": (lines(), "records.txt has JSON records, but its name does not end in .jsonl or .json."),
    "records.dat": (as_list(), "Say how to read it: --input-format json or --input-format text."),
    "no field.jsonl": (
        b'{"text": "a"}\n{"body": "b"}', "line 2 of no field.jsonl has no field 'text'; its fields: 'body'"
    ),
    "no column.csv": (b"a,b\n1,2\n", "line 2 of no column.csv has no field 'text'; its fields: 'a', 'b'"),
    "ragged.csv": (b"a,text\n1,2\n1\n", "line 3 of ragged.csv has 1 columns, the header 2"),
    "quote.csv": (b'a,text\n1,"2\n', "quote.csv is not CSV"),
    "null.jsonl": (b'{"text": null}\n', "the field 'text' in line 1 of null.jsonl is null, not text."),
    "list.jsonl": (b'{"text": "a"}\n[1]\n', "line 2 of list.jsonl is a list, not a record with fields."),
    "twice.jsonl": (b'{"text": "a", "text": "b"}\n', "line 1 of twice.jsonl: the field 'text' is there twice."),
    "deep.jsonl": (b'{"text": "a"}\n' + b'{"a":' * 100_000, "line 2 of deep.jsonl is nested too deeply"),
    "half.jsonl": (
        b'{"text": "a"}\n{"text": "\\ud83d"}\n', "line 2 of half.jsonl has half of a surrogate pair, \\ud83d"
    ),
    "open.json": (b'[{"text": "a"},\n{"text": "b"}\n', "open.json is not JSON: the list has no end"),
    "more.json": (b'[{"text": "a"}] x', "more.json is not JSON: the list has no end, or something follows it"),
    "bad.json": (b'[{"text": "a"},\n{"text": b}]\n', "line 2 of bad.json is not JSON: Expecting value (column 10)"),
    "item.json": (b'[{"text": "a"},\n\n{"body": "b"}]\n', "line 3 of item.json has no field 'text'"),
    "pretty.json": (b'{\n"text": "a"\n}\n{\n"text": b\n}', "line 5 of pretty.json is not JSON: Expecting value"),
    "empty.jsonl": (b"", "--input: it has no text."),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_with_file_and_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    content, sentence = REFUSED[name]
    monkeypatch.setattr(inputs.pieces, "__defaults__", (100,))
    (tmp_path / name).write_bytes(content)
    assert prepare(tmp_path / name, tmp_path / "out") == ExitCode.CONFIG
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert sentence in record.getMessage().replace(f"{tmp_path}/", "")
    assert not list(tmp_path.glob("out*"))


def test_a_fault_in_another_process_is_told_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception that crosses processes keeps its findings; the vocabulary is given, so no reading comes before."""
    monkeypatch.setattr(inputs.pieces, "__defaults__", (100,))
    (tmp_path / "good.jsonl").write_bytes(lines())
    prepare(tmp_path / "good.jsonl", tmp_path / "good")
    (tmp_path / "bad.jsonl").write_bytes(lines() + b"{}\n")
    given = ("--tokenizer", str(tmp_path / "good.tokenizer"), "--processes", "2")
    assert prepare(tmp_path / "bad.jsonl", tmp_path / "out", *given) == ExitCode.CONFIG
    assert f"--input: line 21 of {tmp_path}/bad.jsonl has no field 'text'; its fields: none." in caplog.text


def test_what_is_no_regular_file_is_refused_and_all_faults_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    paths = [str(tmp_path / "pipe"), str(tmp_path), str(tmp_path / "loop"), "/dev/zero"]
    code = __main__.main(
        ["data", "prepare", "--input", *paths, "--output", str(tmp_path / "out"), "--seq-length", "8", *LEARN]
    )
    assert code == ExitCode.CONFIG
    for said in ("pipe is not a regular file", "is a directory. Name the files in it", "loop cannot be read: Too many",
                 "/dev/zero is not a regular file"):  # fmt: skip
        assert said in caplog.text


@pytest.mark.parametrize(("name", "content", "count"), [
    ("latin.txt", b"n\xe9e and h\xe9las \xef\xbf\xbd\n" * 3, 6),
    ("latin.txt.gz", gzip.compress(b"n\xe9e and h\xe9las \xef\xbf\xbd\n" * 3), 6),
    ("half.jsonl", b'{"text": "a \\ud83d"}\n{"text": "n\xe9e"}\n', 2),
    ("half.json", b'[{"text": "a \\ud83d"},\n{"text": "n\xe9e"}]\n', 2),
])  # fmt: skip
def test_what_is_replaced_is_counted(
    name: str, content: bytes, count: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / name).write_bytes(content)
    assert prepare(tmp_path / name, tmp_path / "out", "--encoding-errors", "replace") == ExitCode.SUCCESS
    assert f"{count} characters that could not be decoded were replaced by U+FFFD" in caplog.text
    assert "".join(documents(tmp_path / "out")).count("\ufffd") == count + (3 if "latin" in name else 0)


def test_the_form_of_each_file_is_told_and_can_be_chosen(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "records.txt").write_bytes(lines())
    with caplog.at_level("INFO"):
        assert prepare(tmp_path / "records.txt", tmp_path / "a", "--input-format", "json") == ExitCode.SUCCESS
        assert prepare(tmp_path / "records.txt", tmp_path / "b", "--input-format", "text") == ExitCode.SUCCESS
    assert documents(tmp_path / "a") == TEXTS
    assert documents(tmp_path / "b") == [lines().decode()]
    assert "records.txt: JSON records, UTF-8" in caplog.text
    assert "records.txt: plain text, UTF-8" in caplog.text


def test_an_encoding_that_does_not_exist_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.txt").write_text("a")
    for name in ("utf-9", "rot13", "zlib", ""):
        assert prepare(tmp_path / "a.txt", tmp_path / "out", "--encoding", name) == ExitCode.CONFIG
        assert f"--encoding: there is no encoding {name!r}." in caplog.text
