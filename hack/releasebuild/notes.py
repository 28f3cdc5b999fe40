"""Release notes: the section of a version in CHANGELOG.md, word for word, with what one can check and install."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from controlplane.errors import ClusterError
from controlplane.locations import REPOSITORY

_SECTION = re.compile(r"^## \[(?P<name>[^\]]+)\].*$", re.MULTILINE)
_UNRELEASED = "Unreleased"
_LINK = re.compile(r"\]\((?!https?://|#)(?P<path>[^)\s]+)\)")


def section(changelog: str, version: str) -> str:
    """Return what the changelog says of a version; of one that it does not have, what is unreleased."""
    headings = list(_SECTION.finditer(changelog))
    bounds = {
        heading["name"]: (heading.end(), following.start() if following else len(changelog))
        for heading, following in zip(headings, [*headings[1:], None], strict=True)
    }
    begin, end = bounds.get(version) or bounds.get(_UNRELEASED) or (0, 0)
    text = changelog[begin:end].strip()
    if not text:
        raise ClusterError(f"CHANGELOG.md has no section [{version}] and nothing under [{_UNRELEASED}].")
    return text


def is_dated(changelog: str, version: str) -> bool:
    """Return whether the changelog has a section of this version of its own."""
    return any(heading["name"] == version for heading in _SECTION.finditer(changelog))


def file_name(version: str) -> str:
    """Return the name of the notes in the folder of a release."""
    return f"release-notes-{version}.md"


def write(folder: Path, version: str, files: Sequence[str]) -> Path:
    """Write the notes of the release that consists of these files.

    Links into the repository become plain words: a page of releases is no folder of it.
    """
    text = section((REPOSITORY / "CHANGELOG.md").read_text(), version)
    lines = [
        f"# neuron-training-operator {version}",
        "",
        "Nothing of it has been run on Trainium. How to check and install these files: docs/contributing/release.md "
        "and docs/tasks/install-with-helm.md.",
        "",
        _LINK.sub(lambda match: f"] ({match['path']})", text),
        "",
        "## Files",
        "",
        *(f"- `{name}`" for name in sorted(files)),
    ]
    path = folder / file_name(version)
    path.write_text("\n".join(lines) + "\n")
    return path
