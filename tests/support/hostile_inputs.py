"""Files that `neuron-train run` and `data prepare` must read or refuse: generated from a seed.

Each starts as a good file (records, text, tables, rows, config.json, YAML, Megatron's pair, a tokenizer) and is changed
once or more: bytes that are lost, doubled, flipped or foreign; another encoding, compression or suffix; values of other
types; keys that are missing or new. What is accepted is read a second time by other means: `Case.check`.
"""

import bz2
import gzip
import io
import json
import lzma
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import yaml
from pyarrow import parquet

from hostile_changes import altered, changed, suffix_for

TEXTS = [f"Récord {n}: ünïcödé and\nseveral lines." for n in range(12)]
LENGTH, VOCABULARY = 32, 96


@dataclass(frozen=True)
class Case:
    """One hostile input."""

    name: str
    """`7 records: cut, gz`."""
    command: str
    """`prepare` or `run`."""
    arguments: tuple[str, ...]
    check: Callable[[Path], str]
    """Of what was accepted: what is wrong with it; empty: nothing. Given the command's output."""


# ---- good files -----------------------------------------------------------------------------------------------------


def shown(text: str, second: str) -> str:
    """Of a record of fine-tuning less: question and answer are to fit into a sample."""
    return text[:9] if second else text


def json_lines(rng: random.Random, key: str = "text", second: str = "") -> bytes:
    records: list[Any] = [{key: shown(text, second), **({second: text[:9]} if second else {}), "n": n}
                          for n, text in enumerate(TEXTS)]  # fmt: skip
    if rng.random() < 0.4:
        records = altered(rng, records)
    records = records if isinstance(records, list) else [records]
    return "\n".join(json.dumps(one, ensure_ascii=rng.random() < 0.5) for one in records).encode(errors="surrogatepass")


def json_list(rng: random.Random, key: str = "text", second: str = "") -> bytes:
    lines = json_lines(rng, key, second).decode(errors="surrogatepass").split("\n")
    return ("[" + ",\n".join(lines) + "]").encode(errors="surrogatepass")


def table(rng: random.Random, key: str = "text", second: str = "") -> bytes:
    texts = [shown(text, second) for text in TEXTS]
    columns: dict[str, Any] = {key: texts, **({second: texts} if second else {}), "n": list(range(12))}
    if rng.random() < 0.3:
        columns[key] = [rng.choice((None, "a")) for _ in TEXTS] if rng.random() < 0.5 else list(range(12))
    sink = pa.BufferOutputStream()
    made = pa.table(columns)
    kind = rng.randrange(3)
    if kind == 0:
        parquet.write_table(made, sink, row_group_size=5)
    else:
        with (pyarrow.ipc.new_stream if kind == 1 else pyarrow.ipc.new_file)(sink, made.schema) as writer:
            writer.write_table(made, 5)
    return sink.getvalue().to_pybytes()


def comma(rng: random.Random, key: str = "text", second: str = "") -> bytes:
    header = f"n,{key},{second}\n" if second else f"n,{key}\n"
    return (
        header
        + "".join(f'{n},"{shown(text, second)}"' + (',"b"' if second else "") + "\n" for n, text in enumerate(TEXTS))
    ).encode()


def prose(rng: random.Random, key: str = "", second: str = "") -> bytes:
    return "\n".join(TEXTS * 3).encode()


FORMS = (json_lines, json_lines, json_list, table, comma, prose)


# ---- reading it a second time ---------------------------------------------------------------------------------------


def unpacked(data: bytes) -> bytes:
    for magic, opener in ((b"\x1f\x8b", gzip.decompress), (b"BZh", bz2.decompress), (b"\xfd7zXZ", lzma.decompress)):
        if data.startswith(magic):
            return opener(data)
    if data.startswith(b"\x28\xb5\x2f\xfd"):
        return bytes(pa.CompressedInputStream(pa.BufferReader(data), "zstd").read())
    return data


def texts_of(data: bytes, key: str) -> list[str] | None:
    """What a file holds, by the standard library and pandas-free pyarrow; None where that cannot say."""
    data = unpacked(data)
    if data.startswith(b"PAR1"):
        return [str(text) for text in parquet.read_table(io.BytesIO(data)).column(key).to_pylist()]
    if data.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        opener = pyarrow.ipc.open_file if data.startswith(b"ARROW1") else pyarrow.ipc.open_stream
        return [str(text) for text in opener(data).read_all().column(key).to_pylist()]
    marks = {b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
    wide = next((name for mark, name in marks.items() if data.startswith(mark)), "utf-8-sig")
    text = data.decode(wide).removeprefix("\ufeff")
    return _json_texts(text, key)


def _json_texts(text: str, key: str) -> list[str] | None:
    try:
        whole = json.loads(text)
        return [one[key] for one in (whole if isinstance(whole, list) else [whole])]
    except (ValueError, TypeError, KeyError):
        pass
    try:
        return [json.loads(line)[key] for line in text.split("\n") if line.strip(" \t\r\n\ufeff")]
    except (ValueError, TypeError, KeyError):
        return None


# ---- cases ----------------------------------------------------------------------------------------------------------


OPTIONS = (
    ("--encoding", "latin-1"), ("--encoding-errors", "replace"), ("--input-format", "json"), ("--text-key", "n"),
    ("--vocab-size", "200"), ("--processes", "0"),
)  # fmt: skip
SIZES = ("hidden_size", "vocab_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")


def prepare(rng: random.Random, folder: Path, number: int) -> Case:
    form = rng.choice(FORMS)
    what, data = changed(rng, form(rng))
    suffix = suffix_for(rng, form.__name__)
    path = folder / f"{number}{suffix}"
    path.write_bytes(data)
    output = folder / f"{number}-out"
    more = rng.choice(((), (), (), *OPTIONS))
    arguments = ("--format", "megatron", "--input", str(path), "--output", str(output), "--vocab-size", "260", *more)

    def check(prefix: Path) -> str:
        from tokenizers import Tokenizer

        from neuron_trainer.data.megatron.indexed import IndexedTokens

        written = IndexedTokens(output)
        tokenizer = Tokenizer.from_file(f"{output}.tokenizer/tokenizer.json")
        found = [tokenizer.decode(written[n].tolist()) for n in range(len(written))]
        if more:
            return "" if found else "nothing was written"
        if (wanted := texts_of(data, "text")) is not None and found == wanted:
            return ""
        if suffix in (".csv", ".tsv"):
            whole = unpacked(data).decode("utf-8-sig").replace("\r\n", "\n")
            return (
                "" if all(text.replace('"', '""').replace("\r\n", "\n") in whole for text in found) else "other texts"
            )
        plain = unpacked(data).decode(
            "utf-16" if unpacked(data)[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig", "replace"
        )
        return "" if found == [plain] else f"{len(found)} documents are not what the file holds"

    return Case(
        f"{number} prepare {form.__name__}{suffix or ' without suffix'}: {what} {' '.join(more)}",
        "prepare",
        arguments,
        check,
    )


def fine(_: Path) -> str:
    return ""


def run_case(name: str, folder: Path, number: int, values: dict[str, Any], check: Callable[[Path], str] = fine,
             text: bytes | None = None) -> Case:  # fmt: skip
    path = folder / f"{number}.yaml"
    path.write_bytes(yaml.safe_dump(values).encode() if text is None else text)
    return Case(name, "run", (str(path),), check)


def yaml_file(rng: random.Random, folder: Path, number: int, base: Callable[..., dict[str, Any]]) -> Case:
    values = base(folder / f"{number}-log")
    if rng.random() < 0.6:
        values = altered(rng, values)
    try:
        text = yaml.safe_dump(values, allow_unicode=True).encode()
    except (UnicodeError, yaml.YAMLError):
        text = b"a: b"
    what, text = changed(rng, text) if rng.random() < 0.6 else ("values", text)
    return run_case(f"{number} YAML: {what}", folder, number, {}, text=text)


def config_json(rng: random.Random, folder: Path, number: int, base: Callable[..., dict[str, Any]]) -> Case:
    values = base(folder / f"{number}-log")
    model = json.loads(Path(values["model"]["model_config"]).read_text())
    model |= rng.choice(
        ({}, {"model_type": "mistral"}, {"model_type": "mixtral"}, {"rope_scaling": {"type": "linear", "factor": 2.0}})
    )
    data = json.dumps(altered(rng, model)).encode()
    what = "values"
    if rng.random() < 0.4:
        what, data = changed(rng, data)
    path = folder / f"{number}.json"
    path.write_bytes(data)
    values["model"]["model_config"] = str(path)

    def check(_: Path) -> str:
        given = json.loads(data.decode("utf-8-sig"))
        wrong = [key for key in SIZES if type(given[key]) is not int or given[key] < 1]
        return f"accepted with {wrong}" if wrong else ""

    return run_case(f"{number} config.json: {what}", folder, number, values, check)


def records(rng: random.Random, folder: Path, number: int, base: Callable[..., dict[str, Any]]) -> Case:
    values = base(folder / f"{number}-log")
    form = rng.choice(FORMS)
    first = rng.choice(("input", "input", "instruction", "prompt"))
    what, data = changed(rng, form(rng, first, "output"))
    path = folder / f"{number}{suffix_for(rng, form.__name__)}"
    path.write_bytes(data)
    values["data"] |= {"train_dir": str(path), "seq_length": LENGTH, "global_batch_size": 2,
                       "tokenizer": {"type": str(folder / "tokenizer")}}  # fmt: skip
    values["model_alignment_strategy"] = {"sft": {}}

    def check(_: Path) -> str:
        wanted = texts_of(data, "output") if form is not comma and not path.name.endswith((".csv", ".tsv")) else ["?"]
        return "" if wanted else "accepted, and nothing else reads records in it"

    return run_case(f"{number} records {form.__name__} {path.suffix}: {what}", folder, number, values, check)


def rows(rng: random.Random, folder: Path, number: int, base: Callable[..., dict[str, Any]]) -> Case:
    from datasets import Dataset, load_from_disk

    values = base(folder / f"{number}-log")
    ids = [[rng.randrange(VOCABULARY) for _ in range(LENGTH)] for _ in range(16)]
    columns: dict[str, Any] = {"input_ids": ids, "attention_mask": [[1] * LENGTH] * 16, "labels": ids}
    place, what = folder / f"{number}-rows", "values"
    for _ in range(9):
        try:
            Dataset.from_dict(altered(rng, columns) if rng.random() < 0.6 else columns).save_to_disk(str(place))
            break
        except (pa.ArrowException, TypeError, ValueError, OverflowError, AttributeError, UnicodeError):
            continue
    if rng.random() < 0.5 and place.is_dir():
        path = rng.choice(sorted(one for one in place.iterdir() if one.is_file()))
        what, data = changed(rng, path.read_bytes())
        path.write_bytes(data)
        what = f"{path.name} {what}"
    values["data"]["train_dir"] = str(place)

    def check(_: Path) -> str:
        from neuron_trainer.data.rows import Rows

        own = Rows(str(place))
        found = own.take(range(len(own)))
        try:
            wanted = load_from_disk(str(place)).with_format("numpy")[:]
        except Exception:  # a state of datasets' own that is damaged in what is not read here
            return ""
        return (
            ""
            if all((found[name].numpy() == wanted[name]).all() for name in found)
            else "other rows than datasets reads"
        )

    return run_case(f"{number} rows: {what}", folder, number, values, check)


def megatron(rng: random.Random, folder: Path, number: int, base: Callable[..., dict[str, Any]]) -> Case:
    values = base(folder / f"{number}-log", "megatron")
    for suffix in (".bin", ".idx"):
        data = (folder / f"documents{suffix}").read_bytes()
        what = "kept"
        if rng.random() < 0.4:
            what, data = changed(rng, data)
        (folder / f"{number}{suffix}").write_bytes(data)
    prefix: Any = str(folder / f"{number}")
    values["data"]["data_prefix"] = prefix if rng.random() < 0.7 else altered(rng, [1.0, prefix])
    return run_case(f"{number} Megatron: {what}", folder, number, values)


def tokenizer(rng: random.Random, folder: Path, number: int, base: Callable[..., dict[str, Any]]) -> Case:
    values = base(folder / f"{number}-log")
    made = folder / f"{number}-tokenizer"
    made.mkdir()
    for source in sorted((folder / "tokenizer").iterdir()):
        data = source.read_bytes()
        if rng.random() < 0.6:
            data = changed(rng, data)[1] if rng.random() < 0.5 else json.dumps(altered(rng, json.loads(data))).encode()
        (made / source.name).write_bytes(data)
    (folder / f"{number}.jsonl").write_text('{"input": "a", "output": "b"}\n' * 8)
    values["data"] |= {"train_dir": str(folder / f"{number}.jsonl"), "seq_length": LENGTH, "global_batch_size": 2,
                       "tokenizer": {"type": str(made)}}  # fmt: skip
    values["model_alignment_strategy"] = {"sft": {}}
    return run_case(f"{number} tokenizer", folder, number, values)


KINDS = (prepare, prepare, prepare, records, records, rows, rows, config_json, yaml_file, megatron, tokenizer)


def generate(seed: int, count: int, folder: Path, base: Callable[..., dict[str, Any]]) -> Iterator[Case]:
    """`folder` holds a tokenizer and Megatron's documents, `base` gives a good configuration for a log directory."""
    for number in range(count):
        rng = random.Random(f"{seed}-{number}")
        kind: Any = rng.choice(KINDS)
        yield kind(rng, folder, number) if kind is prepare else kind(rng, folder, number, base)


def specials(folder: Path) -> Iterator[Path]:
    """Paths that are no files."""
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to(folder / "loop")
    yield from (folder / "pipe", folder / "loop", folder, Path("/dev/zero"), folder / "absent", folder / ("n" * 300))
