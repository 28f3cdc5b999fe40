"""What the images are made from is pinned with hashes, comes from no address in particular, and has a known licence."""

import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
_TRAINER: Final = ROOT / "trainer-image" / "requirements"
IMAGES: Final = (
    ROOT / "requirements" / "operator.lock",
    _TRAINER / "cpu.lock",
    _TRAINER / "torchneuron.lock",
    _TRAINER / "nxd.lock",
)
LOCKS: Final = (*IMAGES, *((ROOT / "requirements").glob("[!o]*.lock")), ROOT / "hack" / "imagebuild" / "build.lock")
LICENCES: Final = ROOT / "docs" / "design" / "licences.md"
PIN: Final = re.compile(r"[A-Za-z0-9._-]+(\[[a-z0-9,-]+\])?==[A-Za-z0-9.+!]+( ; .+)?( --hash=sha256:[0-9a-f]{64})+")


def requirements(lock: Path) -> list[str]:
    text = "\n".join(line for line in lock.read_text().splitlines() if not line.lstrip().startswith("#"))
    return [" ".join(line.split()) for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def names(lock: Path) -> set[str]:
    return {re.split(r"[\[=]", line, maxsplit=1)[0].lower() for line in requirements(lock)}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_package_is_pinned_with_the_hashes_of_its_files(lock: Path) -> None:
    lines = requirements(lock)
    assert lines
    for line in lines:
        assert PIN.fullmatch(line), f"{lock.name}: {line[:80]}"


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_names_no_index_and_no_file(lock: Path) -> None:
    assert not re.search(
        r"https?://|file:|git\+|--(extra-)?index-url|--find-links|--trusted-host| @ ", lock.read_text()
    )


@pytest.mark.parametrize(
    "source",
    sorted(path.relative_to(ROOT) for path in (*ROOT.glob("requirements/*.in"), *ROOT.glob("hack/*/*.in"))),
    ids=str,
)
def test_make_lock_writes_the_lock_of_every_source(source: Path) -> None:
    """One that is left out keeps its versions when all others are upgraded."""
    command = rf"^(?:compile|lock 3\.11) .*{source.with_suffix('')}\.(?:in|lock)\b.* \"\$@\"$"
    assert re.search(command, (ROOT / "hack" / "lock").read_text(), re.MULTILINE)


def test_every_package_of_an_image_has_its_licence_in_the_table() -> None:
    table = re.findall(
        r"^\| ([a-z0-9._-]+) \| [a-z ]+ \| (.+) \|$", LICENCES.read_text().partition("|---|")[2], re.MULTILINE
    )
    assert {name for name, _ in table} == set[str]().union(*(names(lock) for lock in IMAGES))
    assert all(licence.strip() for _, licence in table)
    assert not [(name, licence) for name, licence in table if re.search(r"\bA?GPL|SSPL|BUSL|Commons", licence)]
