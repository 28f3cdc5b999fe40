"""The numeric contract for every family: however it is split, steps and weights are those of one process.

Here a part of it (`splits.PART`); `make test-numerics` has all.
"""

from pathlib import Path

import pytest
import torch

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


def test_a_result_of_an_earlier_commit_that_lacks_something_or_is_of_another_model_is_trained_again(
    tmp_path: Path,
) -> None:
    whole = {**dict.fromkeys(families._CONTENT, 0), "definition": families._definition("llama", SPLITS["data 2"])}
    less = {name: value for name, value in whole.items() if name != "evaluated"}
    for content, is_whole in ((less, False), ({**whole, "definition": "of another"}, False), (whole, True)):
        torch.save(content, families._path(tmp_path, "llama", "data 2"))
        assert families.is_there(tmp_path, "llama", "data 2") is is_whole
    assert not families.is_there(tmp_path, "llama", "tensor 2")
