"""The numeric contract: however a run is split, its losses and gradient norms are those of one process."""

from pathlib import Path
from typing import Any

import pytest

from . import ranks
from .nodes import numbers
from .tiny import config

pytestmark = [pytest.mark.distributed, pytest.mark.usefixtures("backend")]

STEPS = 6
SPLITS: dict[str, dict[str, Any]] = {
    "context parallel 2": {"cp": 2, "world": 2},
    "context parallel 4, zero1": {"cp": 4, "world": 4, "zero1": True},
    "context 2, tensor 2, sequence parallel": {"cp": 2, "tp": 2, "world": 4, "sequence_parallel": True},
    "context 2, data 2, zero1": {"cp": 2, "world": 4, "zero1": True},
    "pipeline 2": {"pp": 2, "world": 2},
    "pipeline 2, interleaved": {"pp": 2, "vpp": 2, "world": 2},
    "pipeline 4": {"pp": 4, "world": 4},
    "pipeline 2, data 2, zero1": {"pp": 2, "world": 4, "zero1": True},
    "pipeline 2, tensor 2, sequence parallel": {"pp": 2, "tp": 2, "world": 4, "sequence_parallel": True},
    "pipeline 2, context 2": {"pp": 2, "cp": 2, "world": 4},
    "tensor 4, key/value heads shared": {"tp": 4, "world": 4, "sequence_parallel": True},
    "tensor 4, 2 copies, zero1": {"tp": 4, "world": 4, "kv_replicator": 2, "zero1": True},
    "data parallel 2": {"tp": 1, "world": 2, "zero1": False, "sequence_parallel": False},
    "data parallel 2, zero1": {"tp": 1, "world": 2, "zero1": True, "sequence_parallel": False},
    "tensor parallel 2": {"tp": 2, "world": 2, "zero1": False, "sequence_parallel": False},
    "tensor parallel 2, sequence parallel": {"tp": 2, "world": 2, "zero1": False, "sequence_parallel": True},
    "2 x 2": {"tp": 2, "world": 4, "zero1": False, "sequence_parallel": False},
    "2 x 2, zero1": {"tp": 2, "world": 4, "zero1": True, "sequence_parallel": False},
    "2 x 2, sequence parallel": {"tp": 2, "world": 4, "zero1": False, "sequence_parallel": True},
    "2 x 2, zero1, sequence parallel": {"tp": 2, "world": 4, "zero1": True, "sequence_parallel": True},
}
"""Global batch 8 in micro-batches of 2: four of them on one process, two on each half of data parallel 2."""
ONE: dict[str, Any] = {"world": 1}


@pytest.fixture(scope="session")
def logs(backend: str, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every split trained for 6 steps; log directories by the split's name."""
    base = tmp_path_factory.mktemp("splits")
    splits = {"one process": ONE, **SPLITS}
    folders = {name: base / name.replace(" ", "-").replace(",", "") for name in splits}
    for world in (1, 2, 4):
        ranks.train(world, [_config(tiny, folders[n], **s) for n, s in splits.items() if s["world"] == world])
    return folders


def _config(
    tiny: Path,
    folder: Path,
    *,
    world: int,
    tp: int = 1,
    cp: int = 1,
    pp: int = 1,
    vpp: int = 1,
    kv_replicator: int | None = None,
    zero1: bool = False,
    sequence_parallel: bool = False,
) -> dict[str, Any]:
    return config(
        tiny,
        folder,
        trainer__devices=world,
        trainer__num_nodes=1,
        trainer__max_steps=STEPS,
        trainer__gradient_clip_val=0.5,
        exp_manager__create_checkpoint_callback=False,
        distributed_strategy__tensor_model_parallel_size=tp,
        distributed_strategy__context_parallel_size=cp,
        distributed_strategy__pipeline_model_parallel_size=pp,
        distributed_strategy__virtual_pipeline_model_parallel_size=vpp,
        distributed_strategy__kv_replicator=kv_replicator,
        model__qkv_linear=kv_replicator is not None,
        model__num_layers=4,
        model__fusions={"ring_attention": cp > 1},
        distributed_strategy__zero1=zero1,
        distributed_strategy__sequence_parallel=sequence_parallel,
    )


@pytest.mark.parametrize("split", SPLITS)
def test_losses_and_gradient_norms_are_those_of_one_process(split: str, logs: dict[str, Path]) -> None:
    wanted, found = numbers(logs["one process"]), numbers(logs[split])
    assert list(found) == list(wanted) == list(range(1, STEPS + 1))
    for step, values in wanted.items():
        assert found[step] == pytest.approx(values, rel=1e-5), f"step {step}"


def test_the_comparison_is_of_a_run_that_changes_and_clips(logs: dict[str, Path]) -> None:
    found = numbers(logs["one process"])
    assert len({loss for loss, *_ in found.values()}) == STEPS  # each step has changed the weights
    assert min(norm for _, _, norm, _ in found.values()) > 0.5  # the clipping threshold of these runs
