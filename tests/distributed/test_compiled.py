"""`model.compile`: steps and weights are those of eager execution, with one graph for all layers of a kind.

aot_eager carries graphs out as PyTorch would. The key is the backend `native`'s: PyTorch/XLA compiles whole steps.
"""

from pathlib import Path

import pytest

from . import families
from .splits import LORA_DROPOUT, ONE

pytestmark = pytest.mark.distributed

COMPILER = "aot_eager"
ENDS = 4
"""Embedding, norm, head and loss have a graph each."""
CASES: dict[families.Run, list[int]] = {
    ("llama", "one process, 4 layers"): [1 + ENDS],
    ("llama, documents", "recompute selective"): [1 + ENDS],
    ("megatron mixtral", "recompute full"): [2 + ENDS],  # one layer has experts, one has none
    (LORA_DROPOUT, ONE): [2 + ENDS],  # what comes out of a frozen embedding needs no gradient
    ("llama, in bf16SR", ONE): [1 + ENDS],
    ("llama, dpo", "data 2, zero1"): [1 + ENDS] * 2,
    ("mistral", "context 2"): [1 + ENDS] * 2,
    ("megatron gpt", "pipeline 2"): [3, 4],
    ("mixtral, capacity", "tensor 2, sequence"): [2 + ENDS] * 2,  # of every second layer
    ("mixtral", "expert 2, zero1"): [1 + ENDS] * 2,
    ("llama, in mixed_precisionSR", "2 x 2, zero1, sequence"): [1 + ENDS] * 4,
}
"""Graphs of each process; `make test-compile` has every family and every split."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What came out of every run, and of what it is compared with."""
    base = tmp_path_factory.mktemp("compiled")
    families.train_all(base / "eager", {families.reference(*run) for run in CASES})
    families.train_all(base / COMPILER, CASES, COMPILER)
    return base


@pytest.mark.parametrize(("family", "split"), CASES)
def test_steps_and_weights_are_those_of_eager_execution(family: str, split: str, folder: Path) -> None:
    wanted = families.result(folder / "eager", *families.reference(family, split))
    families.assert_same(families.result(folder / COMPILER, family, split), wanted)


@pytest.mark.parametrize(("family", "split"), CASES)
def test_layers_of_a_kind_share_one_graph_which_is_never_made_again(family: str, split: str, folder: Path) -> None:
    """A graph that is made again after the second step ends the run (`support/graphs.py`)."""
    counts = families.result(folder / COMPILER, family, split)["graphs"]
    assert [count["breaks"] for count in counts] == [0] * len(counts)
    assert [count["graphs"] for count in counts] == CASES[family, split]
