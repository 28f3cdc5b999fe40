"""B-3 on a live run of two processes: the dtype of weights, gradients, states and collectives of every type."""

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from neuron_trainer import rounding
from neuron_trainer.rounding import Place

from . import precision
from .precision import Seen

pytestmark = [pytest.mark.distributed, pytest.mark.usefixtures("backend")]

BF16, FP32 = "torch.bfloat16", "torch.float32"
LAYERS = 2


class Row(NamedTuple):
    """The column of a type in B-3, as dtypes; and how to ask for it."""

    compute: str
    stored: str
    summed: str
    """Gradients over micro-batches and replicas."""
    given: str
    """Gradients to the optimizer."""
    state: str
    layers: str
    keys: dict[str, Any]


ROWS = {
    "fp32": Row(FP32, FP32, FP32, FP32, FP32, FP32, {"type": "fp32"}),
    "fp32, layers bf16": Row(FP32, FP32, FP32, FP32, FP32, BF16,
                             {"type": "fp32", "parallel_layers_reduce_dtype": "bf16"}),
    "mixed_precision": Row(BF16, FP32, FP32, FP32, FP32, BF16, {"type": "mixed_precision"}),
    "mixed_precision, layers fp32": Row(BF16, FP32, FP32, FP32, FP32, FP32,
                                        {"type": "mixed_precision", "parallel_layers_reduce_dtype": "fp32"}),
    "mixed_precisionSR": Row(BF16, FP32, FP32, FP32, FP32, BF16, {"type": "mixed_precisionSR"}),
    "mixed_precision_SR": Row(BF16, FP32, FP32, FP32, FP32, BF16, {"type": "mixed_precision_SR"}),
    "autocast": Row(BF16, FP32, FP32, FP32, FP32, BF16, {"type": "autocast"}),
    "bf16SR": Row(BF16, BF16, BF16, BF16, BF16, BF16, {"type": "bf16SR"}),
    "manual": Row(FP32, FP32, FP32, FP32, FP32, BF16, {"type": "manual"}),
    "manual, bf16": Row(BF16, BF16, BF16, BF16, BF16, BF16, {"type": "manual", "xla_use_bf16": "1"}),
    "manual, summed in fp32": Row(BF16, BF16, FP32, BF16, BF16, BF16,
                                  {"type": "manual", "xla_use_bf16": "1", "fp32_grad_acc": True}),
    "manual, reduced in fp32": Row(BF16, BF16, FP32, BF16, BF16, BF16,
                                   {"type": "manual", "xla_use_bf16": "1", "fp32_grads_cc": True}),
    "manual, masters": Row(BF16, FP32, BF16, FP32, FP32, BF16,
                           {"type": "manual", "xla_downcast_bf16": "1", "master_weights": True}),
    "manual, all": Row(BF16, FP32, FP32, FP32, FP32, FP32,
                       {"type": "manual", "xla_downcast_bf16": "1", "master_weights": True, "fp32_grad_acc": True,
                        "neuron_rt_stochastic_rounding_en": "1", "parallel_layers_reduce_dtype": "fp32"}),
}  # fmt: skip
SPLITS: dict[str, dict[str, Any]] = {
    "zero1": {"distributed_strategy__zero1": True},
    "replicas": {"distributed_strategy__zero1": False},
    "tensor": {"distributed_strategy__tensor_model_parallel_size": 2},
    "sequence": {"distributed_strategy__tensor_model_parallel_size": 2,
                 "distributed_strategy__sequence_parallel": True},
}  # fmt: skip
PIPELINE = {"distributed_strategy__pipeline_model_parallel_size": 2}
IN_PIPELINES = ("mixed_precision", "mixed_precisionSR", "manual, summed in fp32", "manual, masters")
ADAMW = {"name": "adamw", "lr": 3e-3, "betas": [0.9, 0.95], "sched": {"name": "WarmupPolicy", "max_steps": 99}}


@pytest.fixture(scope="module")
def seen(backend: str, tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> dict[str, list[Seen]]:
    """Every type under every split on two processes."""
    folder = tmp_path_factory.mktemp("precision")
    (folder / "model.json").write_text((tiny / "model.json").read_text())
    cases = {
        f"{name}/{split}": {"precision": row.keys, "model__optim": ADAMW, **changes}
        for name, row in ROWS.items()
        for split, changes in SPLITS.items()
    }
    cases |= {
        f"{name}/pipeline": {"precision": ROWS[name].keys, "model__optim": ADAMW, **PIPELINE} for name in IN_PIPELINES
    }
    cases["bf16SR, fp32 states/zero1"] = {"precision": {"type": "bf16SR"}, **SPLITS["zero1"]}
    return precision.run(folder, 2, cases)


@pytest.fixture(scope="module")
def alone(backend: str, tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> dict[str, Seen]:
    """Every type on one process."""
    folder = tmp_path_factory.mktemp("alone")
    (folder / "model.json").write_text((tiny / "model.json").read_text())
    cases = {name: {"precision": row.keys, "model__optim": ADAMW} for name, row in ROWS.items()}
    return {name: found[0] for name, found in precision.run(folder, 1, cases).items()}


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("name", ROWS)
def test_every_dtype_is_the_one_of_the_table(name: str, split: str, seen: dict[str, list[Seen]]) -> None:
    row = ROWS[name]
    for one in seen[f"{name}/{split}"]:
        assert one.weights == one.activations == one.micro_gradients == {row.compute}
        assert one.stored == {row.stored}
        assert one.gradients == {row.given}
        assert one.states == {row.state}
        assert one.loss == {FP32}
        assert set(one.gathers) <= {row.compute}
        assert bool(one.gathers) == (split in ("zero1", "sequence"))
        if split in ("zero1", "replicas"):
            assert set(one.sums) == {row.summed}
            continue
        of_embedding = precision.MICRO_BATCHES * precision.STEPS  # one value and zeros: exact in the dtype they have
        of_layers = of_embedding * (4 * LAYERS + 1)  # outputs and gradients of two blocks a layer, gradient of the head
        assert one.sums == Counter({row.layers: of_layers}) + Counter({row.compute: of_embedding})


@pytest.mark.parametrize("name", ROWS)
def test_the_type_means_the_same_on_one_process(name: str, alone: dict[str, Seen]) -> None:
    row, one = ROWS[name], alone[name]
    assert one.weights == one.activations == one.micro_gradients == {row.compute}
    assert (one.stored, one.gradients, one.states, one.loss) == ({row.stored}, {row.given}, {row.state}, {FP32})
    assert not one.sums + one.gathers


def test_fp32_states_of_their_own_optimizer_stay_fp32(seen: dict[str, list[Seen]]) -> None:
    for one in seen["bf16SR, fp32 states/zero1"]:
        assert (one.stored, one.states, one.gradients) == ({BF16}, {FP32}, {BF16})


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("name", ["mixed_precisionSR", "manual, all"])
def test_masters_are_rounded_at_random_as_a_whole_whatever_the_split(
    name: str, split: str, seen: dict[str, list[Seen]]
) -> None:
    for one in seen[f"{name}/{split}"]:
        for weight, computed in one.computed_with.items():
            master = one.updated[f"{weight}.weight"]
            whole = Place(tuple(master.shape), (0,) * master.ndim)
            key = rounding.key(7, precision.STEPS - 1, f"{weight}.weight")
            precision.assert_equal_parts(computed, rounding.stochastic(master, whole, key), weight)
            is_here = ~computed.isnan()
            differ = (computed != master.to(torch.bfloat16))[is_here].float().mean().item()
            assert 0.1 < differ < 0.4, "a quarter of the values goes to the neighbour that is further"


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if "SR" not in name and "all" not in name])
def test_other_weights_are_the_nearest(name: str, split: str, seen: dict[str, list[Seen]]) -> None:
    for one in seen[f"{name}/{split}"]:
        for weight, computed in one.computed_with.items():
            precision.assert_equal_parts(computed, one.updated[f"{weight}.weight"], weight)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("name", ROWS)
def test_both_processes_have_the_same_weights_to_the_bit(name: str, split: str, seen: dict[str, list[Seen]]) -> None:
    one, other = seen[f"{name}/{split}"]
    for weight, value in one.weights_after.items():
        assert torch.equal(value, other.weights_after[weight]), weight
        assert value.isfinite().all()


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("name", ROWS)
def test_losses_are_those_of_one_process(
    name: str, split: str, seen: dict[str, list[Seen]], alone: dict[str, Seen]
) -> None:
    within = (
        1e-6 if ROWS[name].compute == FP32 and (ROWS[name].layers == FP32 or split in ("zero1", "replicas")) else 1e-2
    )
    for one in seen[f"{name}/{split}"]:
        assert one.losses == pytest.approx(alone[name].losses, rel=within)


@pytest.mark.parametrize("name", IN_PIPELINES)
def test_a_type_means_the_same_in_a_pipeline(name: str, seen: dict[str, list[Seen]], alone: dict[str, Seen]) -> None:
    """PyTorch's schedules scale the gradients that modules have: weights apart from their masters must not escape."""
    row, wanted = ROWS[name], alone[name]
    for one in seen[f"{name}/pipeline"]:
        assert one.weights == one.activations == one.micro_gradients == {row.compute}
        assert (one.stored, one.gradients, one.states) == ({row.stored}, {row.given}, {row.state})
        assert one.losses == pytest.approx(wanted.losses, rel=1e-6)
        for weight, value in one.weights_after.items():
            torch.testing.assert_close(value, wanted.weights_after[weight], rtol=1e-2, atol=1e-5)
