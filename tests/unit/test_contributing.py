"""CONTRIBUTING.md and the packages' pages name files, folders and functions that exist, and leave no folder out."""

import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = {
    "crds": ROOT / "crds" / "src" / "neuron_api",
    "operator": ROOT / "operator" / "src" / "neuron_operator",
    "trainer": ROOT / "trainer-image" / "src" / "neuron_trainer",
    "client": ROOT / "client" / "src" / "neuron_client",
}
PAGES: Final = ("CONTRIBUTING.md", "operator/README.md", "trainer-image/README.md", "docs/contributing/extending.md")

FILE: Final = re.compile(r"(?<![\w./<$-])((?:[\w-]+/)*[\w-]+\.(?:py|yaml|tsv))(?![\w/])")
FOLDER: Final = re.compile(r"(?<![\w./<$~{-])((?:[\w-]+/)+)(?![\w{*<])")
MODULE: Final = re.compile(r"`((?:\w+/)+\w+)`")
"""A module without its ending, or a folder without its stroke."""
STEP: Final = re.compile(r"^\| `([\w/]+\.py)` \| `(\w+)` \|", re.MULTILINE)

NOT_HERE: Final = {"job.yaml", "config.yaml", "utils.py", "checkpoints/", "planning/scheduling/toy.py"}
"""Files of a user, a name that no module shall have, and one to be added."""


def places(page: str) -> list[Path]:
    """Where a path on a page may begin."""
    return [ROOT, (ROOT / page).parent, *PACKAGES.values(), *(one / "planning" for one in PACKAGES.values())]


def exists(page: str, path: str) -> bool:
    """The path itself, or a file of that name in one of the packages."""
    if any((place / path).exists() for place in places(page)):
        return True
    roots = (
        *(package.parents[1] for package in PACKAGES.values()),
        *(ROOT / name for name in ("tests", "docs", "examples", "helm")),
    )
    return any(True for root in roots for _ in root.rglob(path.rstrip("/")))


@pytest.mark.parametrize("page", [page for page in PAGES if (ROOT / page).is_file()])
def test_files_and_folders_of_a_page_exist(page: str) -> None:
    text = re.sub(r"https?://\S+", "", (ROOT / page).read_text())
    named = {*FILE.findall(text), *FOLDER.findall(text)} - NOT_HERE
    assert sorted(path for path in named if not exists(page, path)) == []


@pytest.mark.parametrize("page", PAGES)
def test_modules_that_a_page_names_without_ending_exist(page: str) -> None:
    named = set(MODULE.findall((ROOT / page).read_text()))
    assert sorted(path for path in named if not (exists(page, f"{path}.py") or exists(page, path))) == []


def steps() -> list[tuple[str, str]]:
    return STEP.findall((ROOT / "CONTRIBUTING.md").read_text())


def test_there_are_five_paths() -> None:
    assert len(steps()) > 50


@pytest.mark.parametrize(("path", "name"), steps())
def test_a_step_of_a_path_is_in_its_file(path: str, name: str) -> None:
    files = [
        place / path for package in PACKAGES.values() for place in (package, package.parent) if (place / path).is_file()
    ]
    assert len(files) == 1, "a path begins at the folder of one package, or with its name"
    assert re.search(rf"^\s*(?:(?:async )?def |class ){name}\b|^\s*{name}\s*[:=]", files[0].read_text(), re.MULTILINE)


@pytest.mark.parametrize("package", PACKAGES.values(), ids=PACKAGES)
def test_the_tree_has_every_folder_of_a_package(package: Path) -> None:
    tree = (ROOT / "CONTRIBUTING.md").read_text()
    folders = [path.name for path in package.iterdir() if (path / "__init__.py").is_file()]
    if package.name == "neuron_operator":
        folders += [path.name for path in (package / "planning").iterdir() if (path / "__init__.py").is_file()]
    assert [name for name in folders if f"{name}/" not in tree] == []
