"""Changes that make a good file hostile: of its bytes, of its values, of its suffix."""

import bz2
import gzip
import lzma
import random
from typing import Any

import pyarrow as pa

# ---- changes of bytes -----------------------------------------------------------------------------------------------


def cut(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def flip(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 3, 30))):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


FOREIGN = (
    b"\0", b"\xe9", b"\r", b"\n{}\n", b"\xef\xbb\xbf", b'"', b"[" * 3000, b"\\ud83d", b"NaN", b"\n\n\t",
    "\u2028\u0085".encode(), b"9" * 5000,
)  # fmt: skip


def insert(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice((rng.randbytes(5), *FOREIGN)) + data[at:]


def lose(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + data[at + rng.choice((1, 2, 40)) :]


def double(rng: random.Random, data: bytes) -> bytes:
    at, end = sorted((rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)))
    return data[:end] + data[at:]


def recode(rng: random.Random, data: bytes) -> bytes:
    try:
        return data.decode().encode(
            rng.choice(("utf-16", "utf-16-le", "utf-32", "latin-1", "utf-8-sig", "cp037", "utf-7"))
        )
    except UnicodeError:
        return data


def pack(rng: random.Random, data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return rng.choice((gzip.compress(data), bz2.compress(data), lzma.compress(data), sink.getvalue().to_pybytes()))


def nothing(rng: random.Random, data: bytes) -> bytes:
    return rng.choice(
        (b"", b" ", b"\n", b"\0" * 9, rng.randbytes(400), b"PAR1", b"ARROW1\0\0", b"\x1f\x8b", b"%PDF-1.4 x")
    )


def crlf(rng: random.Random, data: bytes) -> bytes:
    return data.replace(b"\n", rng.choice((b"\r\n", b"\r", b"\n\n")))


def keep(rng: random.Random, data: bytes) -> bytes:
    return data


CHANGES = (cut, flip, insert, lose, double, recode, pack, nothing, crlf, keep)
SUFFIXES = (
    ".jsonl", ".JSONL", ".json", ".ndjson", ".txt", "", ".csv", ".tsv", ".parquet", ".arrow", ".gz", ".jsonl.gz",
    ".json.zst", ".dat", ".jsonl.xz",
)  # fmt: skip


def suffix_for(rng: random.Random, form: str) -> str:
    """More often than not the right one."""
    right = {"json_lines": ".jsonl", "json_list": ".json", "table": ".parquet", "comma": ".csv", "prose": ".txt"}
    return right[form] if rng.random() < 0.6 else rng.choice(SUFFIXES)


def changed(rng: random.Random, data: bytes) -> tuple[str, bytes]:
    """Changed once to three times; the changes' names."""
    chosen = [rng.choice(CHANGES) for _ in range(rng.choice((1, 1, 2, 3)))] if rng.random() < 0.8 else [keep]
    for change in chosen:
        data = change(rng, data)
    return ", ".join(change.__name__ for change in chosen), data


# ---- changes of values ----------------------------------------------------------------------------------------------

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3, 2**40, 1.5, 1e300, "", "a", "32", [], [1], [None], {}, {"a": 1}, "\ud83d", "\0",
    "x" * 70_000,
)  # fmt: skip


def altered(rng: random.Random, value: Any) -> Any:
    """One value somewhere in it replaced, removed, or renamed."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        result = dict(value)
        key = rng.choice(list(result))
        match rng.randrange(5):
            case 0:
                del result[key]
            case 1:
                result[key + rng.choice("sx_")] = result.pop(key)
            case _:
                result[key] = altered(rng, result[key])
        return result
    if isinstance(value, list) and value and rng.random() < 0.9:
        at = rng.randrange(len(value))
        return [*value[:at], altered(rng, value[at]), *value[at + 1 :]]
    return rng.choice(VALUES)
