"""Types of precision on ranks that share a process group, and what is seen of their dtypes while they train."""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from neuron_api.loading.loader import load_text
from pairs import aligned

from . import ranks
from .families import pair_batch
from .ranks import GLOO_TIMEOUT
from .tiny import SEQUENCE, VOCABULARY, config

STEPS = 2
MICRO_BATCHES = 4
LARGE = 1024
"""Elements that activations have at least and statistics of the loss do not; of parameters, the matrices."""


@dataclass(frozen=True)
class Seen:
    """Names of dtypes, those that occurred."""

    stored: set[str] = field(default_factory=set)
    """Of the weights that the optimizer updates."""
    frozen: set[str] = field(default_factory=set)
    """Of those that it does not."""
    weights: set[str] = field(default_factory=set)
    """That linears compute with."""
    activations: set[str] = field(default_factory=set)
    micro_gradients: set[str] = field(default_factory=set)
    """Of weights in the backward pass of one micro-batch, as they come out of the products."""
    gradients: set[str] = field(default_factory=set)
    """That the optimizer is given."""
    states: set[str] = field(default_factory=set)
    loss: set[str] = field(default_factory=set)
    sums: Counter[str] = field(default_factory=Counter)
    """All-reduces and reduce-scatters of large tensors."""
    gathers: Counter[str] = field(default_factory=Counter)
    metrics: set[str] = field(default_factory=set)
    """Of what is reported beside the loss."""
    losses: list[float] = field(default_factory=list)
    weights_after: dict[str, Any] = field(default_factory=dict)
    computed_with: dict[str, Any] = field(default_factory=dict)
    """The linears' weights in the last step's forward pass, whole; NaN where another process has them."""
    updated: dict[str, Any] = field(default_factory=dict)
    """The whole weights before that step as the optimizer has them."""


def run(folder: Path, world: int, cases: dict[str, dict[str, Any]]) -> dict[str, list[Seen]]:
    """Each case, by its changes of the tiny configuration; what each rank has seen."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    ranks.run(_rank, world, folder, cases)
    found = [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(world)]
    return {name: [one[name] for one in found] for name in cases}


def _rank(rank: int, world: int, folder: Path, cases: dict[str, dict[str, Any]]) -> None:
    import torch
    import torch.distributed as dist

    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", store, rank=rank, world_size=world, timeout=GLOO_TIMEOUT)
    every = {}
    for name, changes in cases.items():
        with ranks.groups_of_one_run():
            every[name] = train(folder, world, **changes)
    torch.save(every, folder / f"{rank}.pt")
    dist.destroy_process_group()


def typed(folder: Path, world: int, **changes: Any) -> Any:
    """The tiny configuration on `world` processes."""
    one = {"trainer__devices": world, "trainer__num_nodes": 1, "distributed_strategy__tensor_model_parallel_size": 1,
           "distributed_strategy__sequence_parallel": False}  # fmt: skip
    loaded = load_text(yaml.safe_dump(config(folder, folder, **{**one, **changes})))
    assert loaded.config is not None, loaded.findings
    return loaded.config


def train(folder: Path, world: int, method: dict[str, Any] | None = None, **changes: Any) -> Seen:
    """A few steps in a process group of `world` processes; `method`: sections of `model_alignment_strategy`."""
    import torch

    from neuron_api.platform.topology import Topology
    from neuron_trainer import optim, parallel
    from neuron_trainer.loop.step import Gradients
    from neuron_trainer.models.family import Family

    from .tiny import MODEL

    wanted, seen = typed(folder, world, **changes), Seen()
    torch.manual_seed(wanted.seed)
    if method:
        wanted = aligned(wanted, **method)
    backend = parallel.create(wanted, Topology.from_config(wanted, world), torch.device("cpu"))
    module = backend.build(Family.from_json(MODEL, wanted))
    parameters = {one.name: one for one in (*backend.parameters(), *backend.frozen_parameters())}
    _watch(module, parameters, seen)
    optimizer = optim.for_run(wanted, backend.parameters())
    gradients = Gradients(backend, 0.5)
    for step in range(STEPS):
        seen.updated.update({one.name: ranks.full(one) for one in backend.parameters()})
        with _recorded(seen):
            sums = gradients.compute(_batch(step, backend.share, bool(set(method or {}) & {"dpo", "orpo"})))
        seen.loss.add(str(sums.share.dtype))
        seen.metrics.update(str(one.dtype) for one in sums.metrics.values())
        seen.losses.append(sums.loss.item())
        seen.gradients.update(str(p.leaf.grad.dtype) for p in backend.parameters() if p.leaf.grad is not None)
        optimizer.step()
        backend.end_step(step + 1)
    for one in backend.parameters():
        seen.stored.add(str(one.leaf.dtype))
        seen.states.update(str(t.dtype) for n, t in optimizer.state[one.leaf].items() if n != "step")
        seen.weights_after[one.name] = ranks.full(one)
    seen.frozen.update(str(one.leaf.dtype) for one in backend.frozen_parameters())
    return seen


def assert_equal_parts(found: Any, wanted: Any, name: str) -> None:
    """What this process has of a weight is a part of the wanted whole, to the bit."""
    import torch

    is_here = ~found.isnan()
    assert is_here.any(), name
    assert torch.equal(found[is_here], wanted.to(found.dtype)[is_here]), name


def _full(weight: Any, parameter: Any) -> Any:
    import torch

    weight = weight.detach()
    if hasattr(weight, "full_tensor"):
        return weight.full_tensor().clone()
    whole = torch.full(parameter.shape, torch.nan, dtype=weight.dtype)
    # Linears have the rows of other data-parallel processes as well, so a part is one over tensor parallelism.
    begin = [
        start if own < size else 0 for start, own, size in zip(parameter.offset, weight.shape, whole.shape, strict=True)
    ]
    whole[tuple(slice(start, start + own) for start, own in zip(begin, weight.shape, strict=True))] = weight
    return whole


def _watch(module: Any, parameters: dict[str, Any], seen: Seen) -> None:
    """Look at the weights as they are in a forward pass, and at their gradients."""
    from torch import nn
    from torch.utils._python_dispatch import _disable_current_modes

    def before(name: str, linear: Any) -> None:
        weight = linear.weight
        seen.weights.add(str(weight.dtype))
        with _disable_current_modes():  # what the test gathers itself is not recorded
            seen.computed_with[name] = _full(weight, parameters[f"{name}.weight"])

    for name, child in module.named_modules():
        if isinstance(child, nn.Linear):
            child.register_forward_pre_hook(lambda linear, _, name=name: before(name, linear))
            child.register_forward_hook(lambda _, __, output: seen.activations.add(str(output.dtype)))


@contextmanager
def _recorded(seen: Seen) -> Iterator[None]:
    """Every collective and every gradient of a weight, whoever issues it: they all go through the dispatcher."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Dispatched(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            name = func.name()
            if name.startswith(("c10d::", "_c10d_functional::")):
                kind = seen.sums if "reduce" in name else seen.gathers if "gather" in name else None
                sizes = [t for t in tree_leaves((args, kwargs or {})) if isinstance(t, torch.Tensor)]
                if kind is not None and any(t.numel() >= LARGE for t in sizes):
                    kind.update({str(t.dtype) for t in sizes})
            result = func(*args, **(kwargs or {}))
            if name == "aten::mm" and torch._C._current_autograd_node() is not None:
                seen.micro_gradients.add(str(result.dtype))
            return result

    with Dispatched():
        yield


def _batch(step: int, share: Any, has_pairs: bool) -> dict[str, Any]:
    import torch

    if has_pairs:
        return pair_batch(step, share)
    ids = torch.randint(0, VOCABULARY, (8, SEQUENCE), generator=torch.Generator().manual_seed(step))
    own = ids.chunk(share.size)[share.rank]
    return {"input_ids": own, "labels": own}
