"""Where a device cannot send, pipelines, shared weights and context parallel give the same numbers bit for bit.

gloo's collectives are what such a device's are at their strictest: a process waits for each until its peers are there.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from . import families, ranks
from .families import Run
from .ranks import GLOO_TIMEOUT
from .splits import SPLITS

pytestmark = pytest.mark.distributed

STEPS = 3
RUNS: Sequence[Run] = [
    ("llama", "pipeline 2"),
    ("mixtral", "pipeline 2"),  # stages hand on two tensors, and share the embedding
    ("llama, dpo", "pipeline 2, virtual 2"),
    ("megatron gpt", "pipeline 4"),
    ("llama", "pipeline 2, data 2, zero1"),
    ("mixtral, documents", "context 2"),
    ("llama, dpo", "context 2, pipeline 2"),
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """What came out of every run: with sends, and without."""
    both = tmp_path_factory.mktemp("sends"), tmp_path_factory.mktemp("none")
    for folder, sends in zip(both, (True, False), strict=True):
        for world in (2, 4):
            ranks.run(_rank, world, folder, [run for run in RUNS if SPLITS[run[1]].world == world], sends)
    return both


@pytest.mark.parametrize(("family", "split"), RUNS)
def test_numbers_and_weights_are_those_of_the_form_that_sends(
    family: str, split: str, folders: tuple[Path, Path]
) -> None:
    wanted, found = (families.result(folder, family, split) for folder in folders)
    assert found["numbers"] == wanted["numbers"]
    assert len({losses for losses, *_ in found["numbers"]}) == STEPS
    for name, weight in wanted["weights"].items():
        assert torch.equal(found["weights"][name], weight), name


def _rank(rank: int, world: int, folder: Path, runs: Sequence[Run], sends: bool) -> None:
    import torch.distributed as dist

    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", f"file://{folder}/{world}", rank=rank, world_size=world, timeout=GLOO_TIMEOUT)
    if not sends:
        _forbid_sends()
    for family, split in runs:
        with ranks.groups_of_one_run():
            found = _train(family, split, folder)
        if rank == 0:
            torch.save(found, families._path(folder, family, split))
    dist.destroy_process_group()


def _forbid_sends() -> None:
    """As on a device, whose tensors are floating-point: what hosts tell each other is bytes."""
    from torch.distributed import ProcessGroup

    from neuron_trainer.accelerators import Accelerator

    def refused(name: str) -> Any:
        method = getattr(ProcessGroup, name)

        def call(self: Any, tensors: list[torch.Tensor], *arguments: Any) -> Any:
            assert not tensors[0].is_floating_point(), f"{name} of {tensors[0].shape}"
            return method(self, tensors, *arguments)

        return call

    for name in ("send", "recv"):
        setattr(ProcessGroup, name, refused(name))
    Accelerator.has_send = lambda *_: False  # type: ignore[method-assign]


def _train(family: str, split: str, folder: Path) -> dict[str, Any]:
    """Evaluations between the steps."""
    import torch.distributed as dist

    from neuron_api.platform.topology import Topology
    from neuron_trainer import generators, optim, parallel
    from neuron_trainer.loop.step import Gradients

    typed = families._config(family, SPLITS[split], folder)
    generators.seed_generators(typed.seed)
    backend = parallel.create(typed, Topology.from_config(typed, SPLITS[split].world), torch.device("cpu"))
    backend.build(families._family(family, typed))
    gradients, optimizer = Gradients(backend, 0.5), optim.for_run(typed, backend.parameters())
    numbers = []
    for step in range(STEPS):
        batch = families.batch(family, step, backend.share)
        evaluated = backend.evaluate(batch).loss.item() if step != 1 else None
        done = gradients.compute(batch)
        optimizer.step()
        backend.end_step(step + 1)
        numbers.append((done.loss.item(), done.gradient_norm.item(), evaluated))
    local = {parameter.name: ranks.full(parameter) for parameter in backend.parameters()}
    stages: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(stages, local)
    return {"numbers": numbers, "weights": {name: weight for stage in stages for name, weight in stage.items()}}
