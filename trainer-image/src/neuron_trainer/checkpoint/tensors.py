"""The tensors of a run as one flat mapping that torch.distributed.checkpoint saves, loads and reshards.

Keys: `model.<parameter>`, `optim.<parameter>.<state>`. Values share storage with the run: loading fills it in place.
"""

from collections.abc import Sequence

from torch import Tensor
from torch.optim import Optimizer

from neuron_trainer.optim import state
from neuron_trainer.parallel import LocalParameter


def weights(parameters: Sequence[LocalParameter]) -> dict[str, Tensor]:
    """The master weights."""
    return {f"model.{p.name}": p.whole.detach() for p in parameters}


def optimizer_state(parameters: Sequence[LocalParameter], optimizer: Optimizer) -> dict[str, Tensor]:
    """The optimizer's tensors, each placed as its parameter is, or as the dimensions of it that it has."""
    return {
        f"optim.{p.name}.{name}": p.wrap(tensor, state.dims(name, tensor, p.whole.ndim))
        for p in parameters
        for name, tensor in optimizer.state[p.leaf].items()
        if name != state.STEP
    }


def set_step(parameters: Sequence[LocalParameter], optimizer: Optimizer, step: int) -> None:
    """The number of updates, one per parameter, all equal: it is in the manifest."""
    for parameter in parameters:
        optimizer.state[parameter.leaf][state.STEP].fill_(step)
