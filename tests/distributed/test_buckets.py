"""`bucket_size_collectives`: how many collectives a step has on a live run, and that they change no number."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from neuron_api.loading.loader import load_text

from . import ranks
from .ranks import GLOO_TIMEOUT
from .tiny import MODEL, SEQUENCE, VOCABULARY, config

pytestmark = pytest.mark.distributed

MODEL_BYTES = 4_035_072
"""fp32: 4 layers of 984064, embedding and head of 49152 each, a norm of 512; below 4 MiB."""
WANTED: dict[int | None, int] = {None: 5, 1: 4, 2: 2, 3: 2, 64: 1}
"""Bucket in MiB to collectives for all of it: the layers and the rest without one; else bytes by bucket, rounded up."""


@pytest.mark.parametrize("zero1", [True, False])
def test_gradients_are_reduced_in_buckets_of_the_asked_size(zero1: bool, tmp_path: Path) -> None:
    ranks.run(_rank, 2, tmp_path, zero1)


def _rank(rank: int, world: int, folder: Path, zero1: bool) -> None:
    import torch
    import torch.distributed as dist

    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=world, timeout=GLOO_TIMEOUT)
    found = {size: _step(folder, world, zero1, size) for size in WANTED}
    dist.destroy_process_group()
    _, loss, gradients = found[None]
    if not zero1:
        assert not found.pop(None)[0]["reduced"], "DistributedDataParallel has buckets of its own"
    assert {size: counts["reduced"] for size, (counts, _, _) in found.items()} == {size: WANTED[size] for size in found}
    if zero1:
        assert {size: counts["gathered"] for size, (counts, _, _) in found.items()} == WANTED
    assert {sum(counts["elements"]) * 4 for counts, _, _ in found.values()} == {MODEL_BYTES}
    for _, other, others in found.values():
        assert torch.equal(other, loss)
        assert all(torch.equal(others[name], one) for name, one in gradients.items())


def _step(folder: Path, world: int, zero1: bool, bucket: int | None) -> tuple[dict[str, Any], Any, dict[str, Any]]:
    """Counts of collectives, loss and gradients."""
    import torch

    from neuron_api.platform.topology import Topology
    from neuron_trainer import parallel
    from neuron_trainer.models.family import Family

    values = config(
        folder, folder, trainer__devices=world, trainer__num_nodes=1,
        distributed_strategy={"zero1": zero1, "tensor_model_parallel_size": 1, "sequence_parallel": False},
    )  # fmt: skip
    values["bucket_size_collectives"] = bucket
    typed = load_text(yaml.safe_dump(values)).config
    assert typed is not None
    backend = parallel.create(typed, Topology.from_config(typed, world), torch.device("cpu"))
    backend.build(
        Family.from_json({**MODEL, "hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 4}, typed)
    )
    ids = torch.randint(0, VOCABULARY, (8, SEQUENCE), generator=torch.Generator().manual_seed(3))
    own = ids.chunk(world)[backend.share.rank]
    with _Counting(zero1) as counts:
        loss = backend.accumulate({"input_ids": own, "labels": own}).loss
    backend.finish_gradients()
    return counts, loss, {one.name: one.leaf.grad for one in backend.parameters()}


class _Counting:
    """Collectives by what they are for, at the functions of torch.distributed that FSDP2 calls."""

    def __init__(self, zero1: bool) -> None:
        self._reduce = "reduce_scatter_single" if zero1 else "all_reduce"

    def __enter__(self) -> dict[str, Any]:
        import torch.distributed as dist

        self._patch = pytest.MonkeyPatch()
        self.found: dict[str, Any] = {"reduced": 0, "gathered": 0, "elements": []}
        for name, key in ((self._reduce, "reduced"), ("all_gather_single", "gathered")):
            self._patch.setattr(dist, name, self._counted(getattr(dist, name), key))
        return self.found

    def __exit__(self, *_: object) -> None:
        self._patch.undo()

    def _counted(self, function: Any, key: str) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            self.found[key] += 1
            if key == "reduced":
                sent = named.get("input_tensor", named.get("input", named.get("tensor")))
                self.found["elements"].append((arguments[-1] if sent is None else sent).numel())
            return function(*arguments, **named)

        return call
