"""The numeric contract for every family: however it is split, steps and weights are those of one process.

Here a part of it (`splits.PART`); `make test-numerics` has all.
"""

from pathlib import Path

import pytest

from . import families
from .splits import PART, SPLITS

pytestmark = [pytest.mark.distributed, pytest.mark.usefixtures("backend")]

CASES = [(family, split) for split, chosen in PART.items() for family in chosen]


@pytest.fixture(scope="module")
def folder(backend: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What came out of every run."""
    base = tmp_path_factory.mktemp("families")
    families.train(base, CASES)
    return base


@pytest.mark.parametrize(("family", "split"), CASES)
def test_losses_norms_and_weights_are_those_of_one_process(family: str, split: str, folder: Path) -> None:
    wanted = families.result(folder, family, SPLITS[split].reference)
    found = families.result(folder, family, split)
    families.assert_same(found, wanted)


def test_every_family_and_every_split_of_up_to_4_processes_is_trained() -> None:
    assert {family for family, _ in CASES} == set(families.FAMILIES)
    assert set(PART) >= {name for name, split in SPLITS.items() if split.world <= 4}
    assert set(CASES) <= set(families.every())
