"""Every key of the document: tests/data/config-keys.tsv, and the specification that it was taken from.

The specification is not part of the repository; where it is at hand (../shared), the table is compared with it.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

TABLE: Final = Path(__file__).parents[1] / "data" / "config-keys.tsv"
SPECIFICATION: Final = Path(__file__).parents[3] / "shared" / "spec" / "config-keys.md"

_FILES: Final = (".json", ".jsonl", ".arrow")
"""Suffixes of files that stand in the specification as keys without their section do."""

_IN_PROSE: Final = {
    "A28": [f"fusions{key}" for key in ("", ".softmax", ".flash_attention", ".ring_attention",
                                        ".do_layer_norm_weight_decay")],
    "our `interval: step` overrides": ["model.optim.sched.interval"],
}  # fmt: skip
"""Keys of our own that the specification only speaks of, by words that it has."""


@dataclass(frozen=True, slots=True)
class Row:
    """A key of the document."""

    section: str
    """Of the specification: 5.2."""
    key: str
    tag: str
    """S only in a snippet, U undocumented, C read by upstream's code, A ours; empty: it has a heading of its own."""


def table() -> list[Row]:
    """The rows of the file."""
    _, *lines = TABLE.read_text().splitlines()
    return [Row(*line.split("\t")) for line in lines]


def of_specification() -> list[Row]:
    """The rows as the specification has them, each key where it stands first."""
    text = SPECIFICATION.read_text()
    rows = list(_rows(text))
    for words, keys in _IN_PROSE.items():
        assert words in text, words
        rows += [Row("12" if words == "A28" else "6.2", key, "A") for key in keys]
    first = {row.key: row for row in reversed(rows)}
    return [first[key] for key in dict.fromkeys(row.key for row in rows)]


@cache
def sources() -> Mapping[str, Callable[[], list[Row]]]:
    """What there is on this machine, by name."""
    found = {"table": table}
    return found | ({"specification": of_specification} if SPECIFICATION.exists() else {})


def _rows(text: str) -> Iterator[Row]:
    section, is_table, seen = "", False, []
    for line in text.splitlines():
        if heading := re.match(r"##+ ([\d.]+\d|\d)\.? ", line):
            section = heading[1]
        is_table = line.startswith("| key path") or (is_table and line.startswith("|"))
        if not is_table or line.startswith(("| key path", "|---")):
            continue
        first, *others = line.strip("|").split("|")
        tag = re.findall(r"\*\*([SUCA])\*\*", first)
        for key in _keys(first, "|".join(others), seen):
            seen.append(key)
            yield Row(section, key, "".join(tag))


def _keys(first: str, others: str, seen: list[str]) -> Iterator[str]:
    """Keys of a row: those of its first cell, `.name` beside the one before, and such names in the other cells."""
    names = re.findall(r"`([^`]+)`", re.sub(r"\([^)]*\)", "", first))
    names += [name for name in re.findall(r"`(\.\w+)`", f"{first}|{others}") if name not in (*_FILES, *names)]
    key = ""
    for name in names:
        key = _path(name, key, seen)
        yield key
        if "kwargs" in first and key.endswith("_logger"):
            yield re.sub(r"create_(\w+)_logger", r"\1_logger_kwargs", key)


def _path(name: str, before: str, seen: list[str]) -> str:
    if name.startswith("…"):
        section, _, rest = name[1:].partition(".")
        return f"{next(key for key in reversed(seen) if key.split('.')[-1] == section)}.{rest}"
    if re.fullmatch("_[a-z]+_", name):
        return re.sub("_[a-z]+_", name, before, count=1)
    parent = before.rpartition(".")[0]
    if name.startswith(".") or (parent and "." not in name):
        return f"{parent}.{name.removeprefix('.')}"
    return name
