"""The tensors of a run as one flat mapping that torch.distributed.checkpoint saves, loads and reshards.

Keys: `model.<parameter>`, `optim.<parameter>.<state>`, and `optim.<parameter>.master` where `model.<parameter>` is
stored in fewer bits than the optimizer updates. Values share storage with the run: loading fills it in place.
"""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

import torch
from torch import Tensor
from torch.optim import Optimizer

from neuron_trainer.optim import state
from neuron_trainer.parallel import LocalParameter

from .staging import CheckpointTensor

MASTER: Final = "master"


def to_store(
    parameters: Sequence[LocalParameter],
    optimizer: Optimizer | None,
    dtype: torch.dtype | None,
    *,
    is_beside: Callable[[str], bool] | None = None,
) -> dict[str, CheckpointTensor]:
    """Return what a checkpoint holds; `dtype`: of the model's tensors, by default the one that the optimizer updates.

    Without the optimizer, weights alone. `is_beside`: says of a parameter's name that it is none of the model's
    tensors, as of a merged adapter's; then its master alone is stored, to resume from.
    """
    tensors: dict[str, CheckpointTensor] = {}
    for p in parameters:
        leaf, beside = p.leaf.detach(), is_beside is not None and is_beside(p.name)
        stored = CheckpointTensor(leaf, dtype or leaf.dtype, p.for_checkpoint)
        if not beside:
            tensors[f"model.{p.name}"] = stored
        if optimizer is not None and (beside or not stored.needs_no_cast):
            tensors[f"optim.{p.name}.{MASTER}"] = CheckpointTensor(leaf, leaf.dtype, p.for_checkpoint)
    return tensors if optimizer is None else {**tensors, **dict(_optimizer_state(parameters, optimizer))}


def of_exact(stored: Mapping[str, CheckpointTensor], exact: Mapping[str, Tensor]) -> dict[str, CheckpointTensor]:
    """Return what a checkpoint holds with the values of a copy of the run: weights that the optimizer updates under
    their names in the model, and its state."""

    def source(name: str) -> Tensor:
        parameter = name.removeprefix("optim.").removesuffix(f".{MASTER}")
        return exact[name if name in exact else f"model.{parameter}"]

    return {name: CheckpointTensor(source(name), item.dtype, item.placed) for name, item in stored.items()}


def weights(parameters: Sequence[LocalParameter], names: Container[str]) -> dict[str, CheckpointTensor]:
    """The weights that the optimizer updates, under the names of a checkpoint that has `names`."""
    return {
        _most_exact(p.name, names): CheckpointTensor(p.leaf.detach(), p.leaf.dtype, p.for_checkpoint)
        for p in parameters
    }


def _most_exact(name: str, names: Container[str]) -> str:
    master = f"optim.{name}.{MASTER}"
    return master if master in names else f"model.{name}"


def optimizer_state(parameters: Sequence[LocalParameter], optimizer: Optimizer) -> dict[str, CheckpointTensor]:
    """Return the optimizer's tensors, each placed as its parameter is, or as the dimensions of it that it has."""
    return dict(_optimizer_state(parameters, optimizer))


def _optimizer_state(
    parameters: Sequence[LocalParameter], optimizer: Optimizer
) -> Iterator[tuple[str, CheckpointTensor]]:
    for p in parameters:
        for name, tensor in optimizer.state[p.leaf].items():
            if name != state.STEP:
                placed = partial(p.for_checkpoint, dims=state.dims(name, tensor, len(p.shape)))
                yield f"optim.{p.name}.{name}", CheckpointTensor(tensor, tensor.dtype, placed)


def set_step(parameters: Sequence[LocalParameter], optimizer: Optimizer, step: int) -> None:
    """The number of updates, one per parameter, all equal: it is in the manifest."""
    for parameter in parameters:
        optimizer.state[parameter.leaf][state.STEP].fill_(step)
