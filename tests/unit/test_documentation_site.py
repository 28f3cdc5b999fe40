"""What `make docs` would refuse or show wrongly, without building it: pages without a place, lists that are none.

GitHub's Markdown begins a list without an empty line before it; the site's shows one paragraph then.
"""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from page_blocks import ROOT, pages

DOCS: Final = ROOT / "docs"
OUTSIDE: Final = "project/"
"""Where the hook of the site puts pages outside docs/."""


class Loader(yaml.SafeLoader):
    """mkdocs.yml names a function of Python; nothing here calls it."""


Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)

SITE: Final[dict[str, Any]] = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader)


def places(nav: Any) -> Iterator[str]:
    """Yield the pages of a part of the navigation."""
    if isinstance(nav, str):
        yield nav
        return
    for item in nav.values() if isinstance(nav, dict) else nav:
        yield from places(item)


def test_every_page_has_one_place_in_the_navigation() -> None:
    """Add it to `nav` in mkdocs.yml."""
    written = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    outside = {OUTSIDE + name for name in SITE["extra"]["pages"]}
    assert sorted(places(SITE["nav"])) == sorted(written | outside)


def test_the_readme_is_read_in_three_minutes() -> None:
    """At 200 words a minute, commands and YAML included; targets of links are not read."""
    text = re.sub(r"<!--.*?-->", "", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    words = re.sub(r"\]\([^)\s]+\)", "]", text).split()
    assert len(words) / 200 < 3
    assert len(text.splitlines()) <= 100


def test_pages_outside_docs_exist() -> None:
    assert [name for name in SITE["extra"]["pages"] if not (ROOT / name).is_file()] == []


def test_the_site_fetches_nothing() -> None:
    """Fonts of the system, no scripts and styles but its own."""
    assert SITE["theme"]["font"] is False
    links = [*SITE.get("extra_javascript", []), *SITE["extra_css"]]
    assert [link for link in links if "//" in link] == []
    assert all((DOCS / link).is_file() for link in links)
    assert not re.search(r"https?://", (DOCS / "stylesheets" / "site.css").read_text())


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_list_has_an_empty_line_before_it(path: Path) -> None:
    prose = re.sub(r"^( *)```.*?^\1```$", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    lines = prose.splitlines()
    joined = [
        f"{before!r} / {line!r}"
        for before, line in pairwise(lines)
        if re.match(r"(?:[*-]|\d+\.) \S", line) and before.strip() and not re.match(r"\s|[*-] |\d+\. |#|<!--", before)
    ]
    assert joined == []
