"""The gradients of one optimizer step (B-4): the backend's, one small reduction, clipping; the host reads nothing."""

import torch
from torch import Tensor

from neuron_trainer import accelerators
from neuron_trainer.metrics.step_results import StepSums
from neuron_trainer.parallel import Outcome, ParallelBackend


class Gradients:
    """Computes and clips; the optimizer step is the caller's."""

    def __init__(self, backend: ParallelBackend, clip: float | None) -> None:
        self._backend, self._clip = backend, clip
        # fp64 on the CPU costs nothing for three numbers.
        self._small = accelerators.get(backend.device.type).widest
        self._unit = torch.ones((), dtype=self._small, device=backend.device)
        self._shares: dict[tuple[int, ...], Tensor] = {}

    def compute(self, batch: dict[str, Tensor]) -> StepSums:
        """Compute `leaf.grad` of all parameters, clipped, from this process's samples of a global batch ([GBS/DP,
        S])."""
        outcome = self._backend.accumulate(batch)
        self._backend.finish_gradients()
        gradients, replicas = [], []
        for parameter in self._backend.parameters():
            if parameter.leaf.grad is not None:
                gradients.append(parameter.leaf.grad)
                replicas.append(parameter.replicas)
        sums = self._reduce(outcome, gradients, tuple(replicas))
        self._scale(gradients, sums.gradient_norm)
        return sums

    def _reduce(self, outcome: Outcome, gradients: list[Tensor], replicas: tuple[int, ...]) -> StepSums:
        """One small all-reduce carries the loss, the metrics and the squared norm.

        Every process adds its share: a shard that r processes hold is counted 1/r by each, and the loss is the mean
        over all processes.
        """
        norms = torch.stack(torch._foreach_norm(gradients, dtype=torch.float32)).to(self._small)
        squares = torch.dot(norms.square(), self._parts(replicas, norms.device))
        shares = [outcome.loss, *outcome.metrics.values()]
        values = torch.stack([squares, self._unit, *(share.to(self._small) for share in shares)])
        squares, processes, total, *others = self._backend.sum_over_processes(values).unbind()
        metrics = dict(zip(outcome.metrics, (other / processes for other in others), strict=True))
        return StepSums(total / processes, squares.sqrt(), outcome.loss, metrics)

    def _parts(self, replicas: tuple[int, ...], device: torch.device) -> Tensor:
        """Return 1 / replicas; the same in every step, unless some parameter has no gradient."""
        if replicas not in self._shares:
            self._shares[replicas] = torch.tensor([1.0 / count for count in replicas], dtype=self._small, device=device)
        return self._shares[replicas]

    def _scale(self, gradients: list[Tensor], norm: Tensor) -> None:
        """g *= min(1, c / (norm + 1e-6)); null or 0 clips nothing."""
        if self._clip:
            torch._foreach_mul_(gradients, (self._clip / (norm + 1e-6)).clamp(max=1.0).float())


def parameter_norm(backend: ParallelBackend) -> Tensor:
    """Return the global L2 norm of the weights that are updated, each once, scalar; a collective: call on all
    processes."""
    dtype = accelerators.get(backend.device.type).widest
    squares = torch.zeros((), dtype=dtype, device=backend.device)
    for parameter in backend.parameters():
        squares += torch.linalg.vector_norm(parameter.leaf.detach(), dtype=torch.float32) ** 2 / parameter.replicas
    return backend.sum_over_processes(squares.reshape(1)).sqrt()[0]
