"""No citation leads nowhere: sections that code and pages cite by number, pages with their anchors, relative links."""

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from neuron_api.reference import links

ROOT: Final = Path(__file__).parents[2]
REFERENCE: Final = ROOT / "docs" / "reference"
NUMBERED: Final = {"B-": REFERENCE / "behaviours.md", "R": REFERENCE / "decisions.md", "A": REFERENCE / "decisions.md"}
"""Where the sections with such a number are."""

NUMBER: Final = re.compile(r"(?<![\w/.&$#%-])(B-|R|A)(\d{1,2})(?![\w./-]|%)")
PAGE: Final = re.compile(r"(?<![\w{./*<-])((?:\.\./)*[\w/-][\w./-]*\.md)(#[\w.-]+)?(?! of)")
MISSING: Final = re.compile(r"(?:config-keys|kopf|nxd|trainium|structure|upstream-gaps|operator|behaviours)(?:\.md)? §")
"""Notes that are not part of the repository were cited by section."""

CODE: Final = ("crds/src/", "operator/src/", "trainer-image/src/", "benchmarks/", "hack/")
NOT_PROSE: Final = ("tests/data/", "docs/images/", "docs/reference/decisions.md", "docs/reference/behaviours.md")
SELF: Final = "tests/unit/test_citations.py"


@cache
def tracked() -> tuple[str, ...]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git checkout", allow_module_level=True)
    return tuple(name for name in done.stdout.split("\0") if name and (ROOT / name).is_file())


def texts(*suffixes: str) -> Iterator[tuple[str, str]]:
    """Name and text of the files with such an ending that people wrote."""
    for name in tracked():
        if name.endswith(suffixes) and not name.startswith(NOT_PROSE) and name != SELF:
            yield name, (ROOT / name).read_text()


@cache
def anchors(page: Path) -> frozenset[str]:
    """Anchors of a page: written ones, and those that GitHub makes of headings."""
    text = page.read_text()
    written = re.findall(r"<a id=\"([^\"]+)\"", text)
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return frozenset([*written, *slugs(re.findall(r"^#{1,6} (.+)$", prose, re.MULTILINE))])


def slugs(headings: list[str]) -> Iterator[str]:
    """As GitHub makes them: small letters, no punctuation, blanks as hyphens, a number behind a repeated one."""
    count: dict[str, int] = {}
    for heading in headings:
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        yield f"{slug}-{count[slug]}" if slug in count else slug
        count[slug] = count.get(slug, 0) + 1


# ---- sections by number ------------------------------------------------------------------------------------------


def test_every_number_that_is_cited_has_a_section() -> None:
    dead = [
        f"{name}: {kind}{number}"
        for name, text in texts(".py", ".md")
        for kind, number in NUMBER.findall(text)
        if f"{kind}{number}".lower() not in anchors(NUMBERED[kind])
    ]
    assert dead == []


def test_numbers_are_found() -> None:
    """The expression sees the forms that are written."""
    text = "(B-4), [R1](x#r1), A9: and B-3's, (B-4, 8). Not -A40, SHA-B-1x, R2.5, 0xA9."
    assert NUMBER.findall(text) == [("B-", "4"), ("R", "1"), ("A", "9"), ("B-", "3"), ("B-", "4")]


def test_no_section_of_a_note_that_is_not_here() -> None:
    assert [name for name, text in texts(".py", ".md", ".yaml", "Makefile") if MISSING.search(text)] == []


def test_a_key_links_to_its_decisions() -> None:
    """Rows of the page and the links of the generated page are the same."""
    rows = re.findall(r"</a>(A\d+) \| \[`[^`]+`\]\(config\.md#([\w.]+)\)", (REFERENCE / "decisions.md").read_text())
    assert len(rows) > 25
    assert all(f"[{number}]" in links.decisions(key) for number, key in rows)


# ---- pages -------------------------------------------------------------------------------------------------------


def resolve(name: str, page: str) -> Path | None:
    """The page that a file of code or a page names: from the root, from beside it, or the only one of that name."""
    for path in (ROOT / page, (ROOT / name).parent / page):
        if path.is_file():
            return path
    same = [other for other in tracked() if other.endswith(f"/{page}") or other == page]
    return ROOT / same[0] if len(same) == 1 else None


@pytest.mark.parametrize("name", [name for name in tracked() if name.startswith(CODE) and name.endswith(".py")])
def test_pages_that_code_names_exist(name: str) -> None:
    text = (ROOT / name).read_text()
    for page, anchor in PAGE.findall(text):
        path = resolve(name, page)
        assert path is not None or page == "README.md", f"{page} is no page of the repository"
        assert path is None or not anchor or anchor[1:] in anchors(path), f"{page} has no anchor {anchor}"


def test_sections_that_tests_name_exist() -> None:
    dead = [
        f"{name}: {page}{anchor}"
        for name, text in texts(".py")
        if name.startswith("tests/")
        for page, anchor in PAGE.findall(text)
        if anchor and ((path := resolve(name, page)) is None or anchor[1:] not in anchors(path))
    ]
    assert dead == []


def linked(page: str) -> Iterator[tuple[str, str]]:
    """Paths and anchors of the relative links of a page."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", (ROOT / page).read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"(?:src|srcset|href)=\"([^\"]+)\"", text):
        if not link.startswith(("http", "mailto:")):
            path, _, anchor = link.partition("#")
            yield path, anchor


@pytest.mark.parametrize("page", [name for name in tracked() if name.endswith(".md")])
def test_relative_links_lead_to_a_file_and_an_anchor(page: str) -> None:
    dead = []
    for path, anchor in linked(page):
        target = (ROOT / page).parent / path if path else ROOT / page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target.resolve())):
            dead.append(f"{path}#{anchor}")
    assert dead == []


# ---- the glossary ------------------------------------------------------------------------------------------------


def test_the_glossary_is_in_order_and_linked_where_words_are_first_used() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text()
    words = re.findall(r"^<a id=\"[\w-]+\"></a>\*\*([^*.]+)", text, re.MULTILINE)
    assert len(words) > 30
    assert words == sorted(words, key=str.lower)
    for page in ("README.md", "CONTRIBUTING.md", "operator/README.md", "trainer-image/README.md"):
        assert "docs/glossary.md" in (ROOT / page).read_text(), page
