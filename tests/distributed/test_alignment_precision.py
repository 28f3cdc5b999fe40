"""B-3 on a live run of two processes that align a model: adapters have the dtypes of weights that train, frozen ones
that of the products, and what is told of pairs is fp32."""

import os
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from . import precision
from .precision import Seen
from .test_precision import ADAMW, FP32, ROWS

pytestmark = [pytest.mark.distributed, pytest.mark.usefixtures("backend")]

PEFT = {"lora_rank": 3, "lora_alpha": 6, "lora_dropout": 0, "target_modules": ["qkv_proj", "o_proj", "gate_up_proj"]}
METHODS: dict[str, dict[str, Any]] = {
    "lora": {"sft": {}, "peft": PEFT},
    "dpo": {"dpo": {"kl_beta": 0.3, "max_prompt_length": 8}},
    "orpo": {"orpo": {"beta": 0.5, "max_prompt_length": 8}},
    "dpo, lora": {"dpo": {"kl_beta": 0.3, "max_prompt_length": 8}, "peft": PEFT},
}
KINDS = ("fp32", "mixed_precision", "mixed_precisionSR", "bf16SR", "autocast", "manual, summed in fp32")
SPLITS: dict[str, dict[str, Any]] = {
    "zero1": {"distributed_strategy__zero1": True},
    "sequence": {"distributed_strategy__tensor_model_parallel_size": 2,
                 "distributed_strategy__sequence_parallel": True},
    "pipeline": {"distributed_strategy__pipeline_model_parallel_size": 2},
}  # fmt: skip
ONE = "one process"
FP64 = "torch.float64"
Case = tuple[str, str, str]
"""Type of precision, method, split."""
ALL = list(product(KINDS, METHODS, SPLITS))
CASES = ALL if os.environ.get("NTO_TEST_BACKENDS") else [
    (name, method, split)
    for name, method, split in ALL
    if (KINDS.index(name) + list(METHODS).index(method) + list(SPLITS).index(split)) % len(SPLITS) == 0
]  # fmt: skip
"""Of two processes. `make test`: each type with each method, each type with each split, each method with each split
(a Latin square); `make test-backends`: every combination."""


@pytest.fixture(scope="module")
def seen(backend: str, tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> dict[Case, list[Seen]]:
    """Every method with every type on one process, and `CASES` on two."""
    folder = tmp_path_factory.mktemp("alignment")
    (folder / "model.json").write_text((tiny / "model.json").read_text())
    result: dict[Case, list[Seen]] = {}
    one = [(name, method, ONE) for name, method in product(KINDS, METHODS)]
    for world, chosen in ((1, one), (2, CASES)):
        cases = {
            f"{name}/{method}/{split}": {
                "precision": ROWS[name].keys, "model__optim": ADAMW, "method": METHODS[method], **SPLITS.get(split, {})
            }
            for name, method, split in chosen
        }  # fmt: skip
        result |= {tuple(key.split("/")): every for key, every in precision.run(folder, world, cases).items()}
    return result


@pytest.mark.parametrize(("name", "method", "split"), [*((*each, ONE) for each in product(KINDS, METHODS)), *CASES])
def test_what_trains_and_what_is_frozen_have_the_dtypes_of_the_table(
    name: str, method: str, split: str, seen: dict[Case, list[Seen]]
) -> None:
    row, has_adapters = ROWS[name], "lora" in method
    for one in seen[name, method, split]:
        assert one.weights == one.activations == {row.compute}
        assert one.micro_gradients == {row.compute}
        assert one.stored == {row.stored}
        assert one.frozen == ({row.compute} if has_adapters else set())
        assert (one.gradients, one.states, one.loss) == ({row.given}, {row.state}, {FP32})
        assert one.metrics <= {FP32, FP64} and bool(one.metrics) == (method != "lora")
        if split == "zero1" and not has_adapters:
            assert set(one.sums) == {row.summed}


@pytest.mark.parametrize(("name", "method", "split"), CASES)
def test_losses_are_those_of_one_process(name: str, method: str, split: str, seen: dict[Case, list[Seen]]) -> None:
    row, alone = ROWS[name], seen[name, method, ONE][0]
    is_exact = row.compute == FP32 and (row.layers == FP32 or split != "sequence")
    for one in seen[name, method, split]:
        assert one.losses == pytest.approx(alone.losses, rel=1e-5 if is_exact else 1e-2)
