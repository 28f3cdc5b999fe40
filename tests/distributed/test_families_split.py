"""The numeric contract for every family: however it is split, steps and weights are those of one process."""

from pathlib import Path

import pytest
import torch

from . import families
from .families import Split

pytestmark = pytest.mark.distributed

ONE = "one process"
SPLITS = {
    "data 2": Split(2),
    "data 2, zero1": Split(2, zero1=True),
    "tensor 2": Split(2, tensor=2),
    "tensor 2, sequence": Split(2, tensor=2, sequence=True),
    "2 x 2, zero1, sequence": Split(4, tensor=2, sequence=True, zero1=True),
    "tensor 4": Split(4, tensor=4),
    "context 2": Split(2, context=2),
    "context 2, tensor 2, sequence": Split(4, context=2, tensor=2, sequence=True),
    "pipeline 2": Split(2, pipeline=2),
    "pipeline 2, tensor 2, sequence": Split(4, pipeline=2, tensor=2, sequence=True),
    "pipeline 2, data 2, zero1": Split(4, pipeline=2, zero1=True),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every family trained under every split."""
    base = tmp_path_factory.mktemp("families")
    families.train(base, {ONE: Split(1), **SPLITS})
    return base


MASKED = "megatron gpt, hidden dropout"
"""Only where the processes hold the same states are the masks those of one process (B-19)."""
CASES = [
    (family, name)
    for name, split in SPLITS.items()
    for family in split.families()
    if family != MASKED or name == "tensor 2"
]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("family", "split"), CASES)
def test_losses_norms_and_weights_are_those_of_one_process(family: str, split: str, folder: Path) -> None:
    wanted, found = families.result(folder, family, ONE), families.result(folder, family, split)
    assert len(found["steps"]) == families.STEPS
    for (loss, norm), (wanted_loss, wanted_norm) in zip(found["steps"], wanted["steps"], strict=True):
        assert loss == pytest.approx(wanted_loss, rel=1e-5)
        assert norm == pytest.approx(wanted_norm, rel=1e-5)
    assert found["weights"].keys() == wanted["weights"].keys()
    for name, weight in wanted["weights"].items():
        torch.testing.assert_close(found["weights"][name], weight, rtol=1e-5, atol=1e-6, msg=name)
