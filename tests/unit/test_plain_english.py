"""Texts that users read keep to plain English: words of a private vocabulary stay out of pages and messages."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]

PRIVATE: Final = {
    r"mend(?:s|ed|ing)?": "fix",
    r"told": "reported, recorded",
    r"aloud": "in the log",
    r"anew": "again; recreated",
    r"(?:take|takes|took|taken|taking) up": "load, resume from, start to use",
    r"passed over": "skipped",
    r"for ever": "forever",
    r"is not there": "is missing, does not exist",
    r"cares? for": "manage",
    r"it is meant": "intended",
}
"""Word, and what to write instead."""

WORD: Final = re.compile(rf"\b(?:{'|'.join(PRIVATE)})\b", re.IGNORECASE)

WRITTEN: Final = (
    *("*.md", "Makefile", "docs/**/*.md", "hack/*.md", "examples/*.md", "helm/*/*.md", "helm/*/values.yaml"),
    *("helm/*/files/*.yaml", "requirements/*.md"),
)
RECORDS: Final = {"docs/track-record.md", "docs/design/019-layout-and-words.md"}
"""One quotes earlier states, the other explains the words."""
SOURCES: Final = tuple(
    f"crds/src/neuron_api/{path}.py"
    for path in ("findings/codes", "findings/reading_codes", "resource/reasons", "resource/spec", "resource/status")
)
"""Texts that pages and the API server's messages are made from."""


def pages() -> list[str]:
    found = (path.relative_to(ROOT).as_posix() for pattern in WRITTEN for path in ROOT.glob(pattern))
    return sorted({*found, *SOURCES} - RECORDS)


def hits(text: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), start=1):
        for match in WORD.finditer(line):
            yield f"{number}: {line[max(0, match.start() - 40) : match.end() + 30].strip()}"


MESSAGES: Final = (
    "crds/src/neuron_api",
    "operator/src/neuron_operator",
    "client/src/neuron_client",
    *(
        f"trainer-image/src/neuron_trainer/{folder}"
        for folder in ("launcher", "run_directory", "storage", "ipc", "cli")
    ),
)
"""Packages whose messages are held to it; docstrings and comments are for those who read the code."""


def messages(tree: ast.Module) -> Iterator[str]:
    """Yield what a module may show: its texts of several words, without docstrings."""
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    yield from (node.value for node in texts if id(node) not in docstrings and " " in node.value)


@pytest.mark.slow
@pytest.mark.parametrize("package", MESSAGES)
def test_messages_are_in_plain_english(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {hit}"
        for path in sorted((ROOT / package).rglob("*.py"))
        for message in messages(ast.parse(path.read_text()))
        for hit in hits(message)
    ]
    assert wrong == []


@pytest.mark.parametrize("page", pages())
def test_a_page_is_in_plain_english(page: str) -> None:
    assert list(hits((ROOT / page).read_text())) == []


def test_the_words_are_found() -> None:
    assert [line.partition(":")[0] for line in hits("Mend it.\nAn amendment.\nThe run took up a checkpoint.")] == [
        "1",
        "3",
    ]
