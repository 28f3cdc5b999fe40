"""A hook of mkdocs: pages and files of the repository that lie outside docs/ belong to the site, too.

Pages are written for GitHub: a link is the path from one file of the repository to another. On the site one outside
docs/ stands under `project/`; other files that pages link to (examples, manifests, source) are copied there: the site
needs no repository behind it. A link to a folder without a page becomes its name.
"""

import logging
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).resolve().parents[2]
DOCS: Final = "docs/"
OUTSIDE: Final = "project/"
"""Where on the site the files outside docs/ are."""

CODE: Final = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.DOTALL | re.MULTILINE)
LINK: Final = re.compile(r"(?<=\]\()(?P<inline>[^)\s#]+)|(?<=(?:src|ref)=\")(?P<html>[^\"#]+)")
TO_FOLDER: Final = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<target>[^)\s#]+)\)")
ELSEWHERE: Final = ("http:", "https:", "mailto:", "data:")

LOG: Final = logging.getLogger("mkdocs.plugins.repository_pages")
"""A warning here ends a strict build."""


def on_files(files: Files, config: MkDocsConfig, **_: Any) -> Files:
    """Add the pages named in `extra.pages`, and every file that a page links to."""
    names = [*config.extra["pages"]]
    pages = {source(file.src_uri): Path(file.abs_src_path or "") for file in files.documentation_pages()}
    pages |= {name: ROOT / name for name in names}
    names += sorted({name for page, path in pages.items() for name in linked_files(page, path.read_text())})
    for name in names:
        if files.get_file_from_path(site_path(name)) is None:
            files.append(File.generated(config, site_path(name), abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Page, files: Files, **_: Any) -> str:
    """Turn paths in the repository into paths on the site."""
    here = page.file.src_uri
    parts = CODE.split(without_folders(markdown, source(here)))
    parts[::2] = [LINK.sub(lambda match: site_link(match[0], here, files), part) for part in parts[::2]]
    return "".join(parts)


def source(site: str) -> str:
    """The path in the repository of a file of the site."""
    return site.removeprefix(OUTSIDE) if site.startswith(OUTSIDE) else DOCS + site


def site_path(name: str) -> str:
    """The path on the site of a file of the repository."""
    return name.removeprefix(DOCS) if name.startswith(DOCS) else OUTSIDE + name


def resolve(page: str, link: str) -> str | None:
    """The path in the repository that a link of a page leads to; a folder is its README."""
    if link.startswith(ELSEWHERE):
        return None
    name = posixpath.normpath(posixpath.join(posixpath.dirname(page), link))
    index = posixpath.join(name, "README.md")
    return index if (ROOT / index).is_file() else name


def linked_files(page: str, text: str) -> Iterator[str]:
    """Yield the files outside docs/ that a page links to."""
    for part in CODE.split(text)[::2]:
        for match in LINK.finditer(part):
            name = resolve(page, match[0])
            if name is not None and not name.startswith(DOCS) and (ROOT / name).is_file():
                yield name


def site_link(link: str, here: str, files: Files) -> str:
    """A link as the page on the site needs it; one that leads nowhere is reported, also where mkdocs does not look."""
    name = resolve(source(here), link)
    if name is None:
        return link
    if files.get_file_from_path(site_path(name)) is None:
        LOG.warning("%s links to %s, which is not on the site", source(here), link)
        return link
    return posixpath.relpath(site_path(name), posixpath.dirname(here) or ".")


def without_folders(markdown: str, page: str) -> str:
    """The text, in which what leads to a folder that has no page is no link."""

    def text_alone(match: re.Match[str]) -> str:
        name = resolve(page, match["target"])
        return match["text"] if name is not None and (ROOT / name).is_dir() else match[0]

    return TO_FOLDER.sub(text_alone, markdown)
