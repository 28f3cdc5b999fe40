"""The gradients of one optimizer step (B-4): the backend's, one small reduction, clipping."""

from dataclasses import dataclass

import torch
from torch import Tensor

from neuron_trainer.parallel import ParallelBackend


@dataclass(frozen=True, slots=True)
class StepResult:
    """The same numbers on every process."""

    loss: float
    """Mean over micro-batches and data-parallel ranks."""
    gradient_norm: float
    """Global L2 norm of the averaged gradient, before clipping."""
    is_stopping: bool
    """Some process was asked to stop: all save at the end of this step."""
    is_over: bool = False
    """The time of some process is over: training ends with this step."""


class Gradients:
    """Computes and clips; the optimizer step is the caller's."""

    def __init__(self, backend: ParallelBackend, clip: float | None) -> None:
        self._backend, self._clip = backend, clip
        # fp64 on the CPU costs nothing for three numbers; the device has no fp64.
        self._small = torch.float64 if backend.device.type == "cpu" else torch.float32

    def compute(self, batch: dict[str, Tensor], *, wants_stop: bool, time_is_over: bool = False) -> StepResult:
        """From this process's samples of a global batch ([GBS/DP, S]) to `leaf.grad` of all parameters, clipped."""
        loss = self._backend.accumulate(batch)
        self._backend.finish_gradients()
        result = self._agree(loss, wants_stop, time_is_over)
        self._scale(result.gradient_norm)
        return result

    def _agree(self, loss: Tensor, wants_stop: bool, time_is_over: bool) -> StepResult:
        """One small all-reduce carries the loss, the squared norm and the wishes to stop.

        Every process adds its share: a shard that r processes hold is counted 1/r by each, and the loss is the mean
        over all processes.
        """
        leaves = [(p.leaf.grad, p.replicas) for p in self._backend.parameters() if p.leaf.grad is not None]
        norms = torch.stack([torch.linalg.vector_norm(g, dtype=torch.float32) for g, _ in leaves]).to(self._small)
        shares = torch.tensor([1.0 / replicas for _, replicas in leaves], dtype=self._small, device=norms.device)
        squares = (norms.square() * shares).sum()
        one = torch.ones_like(squares)
        values = torch.stack([loss.to(self._small), squares, one * wants_stop, one * time_is_over, one])
        total_loss, total_squares, stops, overs, processes = self._backend.sum_over_processes(values).tolist()
        return StepResult(total_loss / processes, total_squares**0.5, stops > 0, overs > 0)

    def _scale(self, norm: float) -> None:
        """g *= min(1, c / (norm + 1e-6)); null or 0 clips nothing."""
        factor = self._clip / (norm + 1e-6) if self._clip else 1.0
        if factor < 1.0:
            torch._foreach_mul_([p.leaf.grad for p in self._backend.parameters() if p.leaf.grad is not None], factor)


def parameter_norm(backend: ParallelBackend) -> float:
    """Global L2 norm of the master weights, each parameter once; a collective: call on all processes."""
    squares = torch.zeros((), dtype=torch.float64 if backend.device.type == "cpu" else torch.float32)
    for parameter in backend.parameters():
        squares += torch.linalg.vector_norm(parameter.leaf.detach(), dtype=torch.float32) ** 2 / parameter.replicas
    return float(backend.sum_over_processes(squares.reshape(1).to(backend.device)).item() ** 0.5)
