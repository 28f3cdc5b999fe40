"""The backend for PyTorch/XLA, on hosts: numbers are those of one process of `native`, checkpoints the same files.

A part of what `make test-backends` and `hack/numerics --backend xla` run, chosen so that each way of splitting, each
method and each kind of experts is there. What is proved of lazy devices: tests/xla.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from neuron_api import contract

from . import families, ranks
from .nodes import numbers
from .splits import SPLITS
from .test_resharding import SAVED, STEPS, Split

pytestmark = pytest.mark.distributed

CASES: Final = [
    ("llama, lora", "recompute selective"),
    ("llama, orpo", "data 2"),
    ("mixtral, sinkhorn", "data 2, zero1"),
    ("mixtral", "tensor 2"),
    ("megatron gpt, experts", "tensor 2, sequence"),
    ("llama, documents", "context 2"),
    ("mixtral, capacity", "context 2"),
    ("llama, dpo", "pipeline 2"),
    ("megatron gpt, documents", "pipeline 2, virtual 2"),
    ("mixtral", "expert 2"),
    ("mixtral, room for all", "shuffle 2"),
    ("llama, lora", "data 4, zero1"),
    ("llama", "tensor 4, copies 2, sequence"),
    ("megatron mistral", "2 x 2, zero1, sequence"),
    ("mixtral", "pipeline 2, tensor 2, sequence"),
    ("mixtral", "expert 2, context 2, zero1"),
]
TENSOR: Final = Split(2, tensor=2)
PAIRS: Final = [("native", TENSOR, "xla", Split(4)), ("xla", TENSOR, "native", Split(2, pipeline=2))]


@contextmanager
def _backend(name: str) -> Iterator[None]:
    """Ranks that are started inside have this one alone."""
    ranks.BACKEND = name
    try:
        yield
    finally:
        ranks.BACKEND = None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What came out of every run, and of the runs on one process."""
    base = tmp_path_factory.mktemp("families")
    with _backend("native"):
        families.train_all(base, {families.reference(*case) for case in CASES})
    with _backend("xla"):
        families.train_all(base, CASES)
    return base


@pytest.mark.parametrize(("family", "split"), CASES)
def test_losses_norms_and_weights_are_those_of_one_process(family: str, split: str, folder: Path) -> None:
    wanted = families.result(folder, family, SPLITS[split].reference)
    families.assert_same(families.result(folder, family, split), wanted)


@pytest.mark.parametrize(("first", "before", "second", "after"), PAIRS, ids=lambda part: getattr(part, "name", part))
def test_a_run_goes_on_with_the_other_backend_on_another_split(
    first: str, before: Split, second: str, after: Split, tiny: Path, tmp_path: Path
) -> None:
    logs = tmp_path / "before", tmp_path / "after"
    with _backend(first):
        ranks.train(before.world, [before.values(tiny, logs[0], is_async=True)])
    [checkpoint] = (logs[0] / contract.CHECKPOINTS_DIR).glob(f"*step={SAVED}-*")
    with _backend(second):
        ranks.train(after.world, [after.values(tiny, logs[1], is_async=False)], [checkpoint])
    wanted, found = numbers(logs[0]), numbers(logs[1])
    assert list(found) == list(range(SAVED + 1, STEPS + 1))
    for step, (loss, lr, norm, samples) in found.items():
        assert (loss, norm) == (pytest.approx(wanted[step][0], rel=1e-5), pytest.approx(wanted[step][2], rel=1e-4))
        assert (lr, samples) == (wanted[step][1], wanted[step][3])


def test_a_resumed_run_is_the_unbroken_one_bit_for_bit(tiny: Path, tmp_path: Path) -> None:
    split = Split(4, tensor=2)
    with _backend("xla"):
        ranks.train(4, [split.values(tiny, tmp_path / "unbroken", is_async=True)])
        [checkpoint] = (tmp_path / "unbroken" / contract.CHECKPOINTS_DIR).glob(f"*step={SAVED}-*")
        ranks.train(4, [split.values(tiny, tmp_path / "resumed", is_async=True)], [checkpoint])
    wanted, found = numbers(tmp_path / "unbroken"), numbers(tmp_path / "resumed")
    assert found == {step: wanted[step] for step in range(SAVED + 1, STEPS + 1)}


def test_with_sequence_parallelism_a_block_keeps_its_part_of_the_sequence(tmp_path: Path) -> None:
    """The states that its linears are given are gone after the forward pass, and there again in the backward pass."""
    with _backend("xla"):
        ranks.run(_gone_after_forward, 2, str(tmp_path / "store"))


def _gone_after_forward(rank: int, world: int, store: str) -> None:
    import torch
    import torch.distributed as dist
    from torch import nn

    from neuron_api.platform.topology import Topology
    from neuron_trainer import parallel

    dist.init_process_group("gloo", f"file://{store}", rank=rank, world_size=world)
    split = SPLITS["tensor 2, sequence"]
    typed = families._config("llama", split, Path(store).parent)
    backend = parallel.create(typed, Topology.from_config(typed, world), torch.device("cpu"))
    model = backend.build(families._family("llama", typed))
    given: list[Any] = []
    for name, child in model.named_modules():
        if isinstance(child, nn.Linear) and name.endswith(("q_proj", "k_proj", "gate_proj")):
            child.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0].untyped_storage()._weak_ref()))
    ids = families.batch("llama", 0, backend.share)["input_ids"][:2]
    loss = model(ids).float().square().mean()
    assert len(given) == 3 * split.layers
    assert all(torch.UntypedStorage._expired(states) for states in given)
    loss.backward()
    assert all(parameter.used.grad is not None for parameter in backend.parameters())
    dist.destroy_process_group()
