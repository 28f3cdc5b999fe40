"""docs/track-record.md: every row is whole, every test that it names exists, every commit can be looked up."""

import re
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "track-record.md"
TEST: Final = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
HASH: Final = re.compile(r"[0-9a-f]{7,12}")


def rows() -> list[list[str]]:
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    return [re.split(r"(?<!\\) \| ", line.removeprefix("| ").removesuffix(" |")) for line in lines]


@cache
def functions(path: str) -> set[str]:
    file = ROOT / path
    return (
        set(re.findall(r"^\s*(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE)) if file.is_file() else set()
    )


BUGS: Final = [row for row in rows() if row[0] != "What was wrong"]


def test_there_are_rows() -> None:
    assert len(BUGS) > 60


@pytest.mark.slow
@pytest.mark.parametrize("row", BUGS, ids=lambda row: str(row[0])[:60])
def test_a_row_says_what_who_which_test_and_which_commit(row: list[str]) -> None:
    what, found_by, tests, commit = row
    assert what.endswith(".")
    assert len(what) > 25
    assert found_by
    named = TEST.findall(tests)
    assert named, "no test"
    for path, name in named:
        assert name in functions(path), f"{path} has no {name}"
    assert HASH.fullmatch(commit) or len(commit) > 10, "a short hash, or the subject of a commit"


def test_no_bug_is_listed_twice() -> None:
    said = [row[0] for row in BUGS]
    assert len(said) == len(set(said))
