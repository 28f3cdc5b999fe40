"""Numbers of finished steps, read from the device late: a step need not wait for the one before to be read.

Read in the order of steps, one transfer for each, and all of them before a checkpoint is written. That a loss is not
finite is therefore found at most `depth` steps later, and never after a checkpoint.

A `LateRead` does not wait for what was given to the device since the numbers were made. A blocking read waits for
everything in the device's queue. So the copy to host memory is put into the queue right after what makes the numbers,
and an event after the copy is all that is waited for. On a lazy device the numbers are made one tensor in a program of
their own: what is made when they are read would come after the steps that were given since.
"""

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import torch
import torch.distributed as dist
from torch import Tensor

from neuron_api.config import TrainingConfig
from neuron_trainer import accelerators
from neuron_trainer.errors import DivergenceError
from neuron_trainer.parallel import hosts

_CHECKED_EVERY: Final = 10
"""Steps: to ask a device for its failures is to wait until it has nothing to do."""


class LateRead:
    """Scalars of one dtype, on their way to the host; on the CPU they are there."""

    def __init__(self, values: Sequence[Tensor]) -> None:
        self._values = values
        self._numbers: Tensor | None = None
        """All of them, on the host or in a program of their own."""
        self._copied: torch.Event | None = None
        device = values[0].device
        if accelerators.get(device.type).is_lazy:
            self._numbers = torch.stack(list(values))
            torch.get_device_module(device).dispatch()
        elif device.type != "cpu" and accelerators.can_pin(device):
            stacked = torch.stack(list(values))
            self._numbers = accelerators.host_buffer(stacked.shape, stacked.dtype, device)
            self._numbers.copy_(stacked, non_blocking=True)
            self._copied = torch.get_device_module(device).Event()
            self._copied.record()

    def numbers(self) -> list[float]:
        """Return the numbers; waits until they are there."""
        if self._copied is not None:
            self._copied.synchronize()
        numbers = self._numbers
        if numbers is None:  # on the CPU, or a device without pinned memory, where each copy waits
            numbers = torch.stack(list(self._values))
        read: list[float] = numbers.tolist()
        return read


@dataclass(frozen=True, slots=True)
class StepSums:
    """What a step has come to, on the device: the same numbers on every process, but for `share`."""

    loss: Tensor
    """Mean over micro-batches and data-parallel ranks, scalar."""
    gradient_norm: Tensor
    """Global L2 norm of the averaged gradient, before clipping, scalar."""
    share: Tensor
    """This process's own share of the loss, fp32 scalar."""
    metrics: Mapping[str, Tensor] = field(default_factory=dict)
    """Of the objective, scalars by name: means as the loss is one."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A step that is on its way."""

    step: int
    sums: StepSums
    lr: float
    """That it used."""
    consumed_samples: int
    """After it."""
    tokens_per_second: float
    time: float
    """Unix time when it was handed to the device."""
    parameter_norm: torch.Tensor | None = None
    seconds: float = 0.0
    """That the process was busy with it, without waiting for the batch."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """The same on every process."""

    step: int
    loss: float
    gradient_norm: float
    lr: float
    consumed_samples: int
    tokens_per_second: float
    time: float
    parameter_norm: float | None
    seconds: float = 0.0
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Of the objective, by name."""


def depth(config: TrainingConfig, device: torch.device) -> int:
    """Return how many steps may be unread: `aync_exec_max_inflight_requests`, of either spelling.

    Where it is not set 1; 0 on the CPU, which has finished a step when the call returns.
    """
    requests = config.aync_exec_max_inflight_requests
    requests = config.async_exec_max_inflight_requests if requests is None else requests
    if requests is None:
        return 0 if device.type == "cpu" else 1
    return requests


class Results:
    """A queue of at most `depth` unread steps."""

    def __init__(
        self,
        depth: int,
        global_batch: int,
        nan_cause: str = "",
        *,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """`nan_cause`: what else the message of a loss that is not finite says (`Accelerator.nan_cause`).

        `check` raises what a device has kept back of its failures (`accelerators.raise_deferred`): it is called before
        the first step of this start counts as done, and before every tenth.
        """
        self._depth, self._global_batch, self._nan_cause, self._check = depth, global_batch, nan_cause, check
        self._pending: deque[tuple[Pending, LateRead]] = deque()
        self._newest: StepResult | None = None
        self.nonfinite_norms = 0
        """Steps of this start whose gradient norm was not finite."""
        self._broken = 0
        """The first of them: what it has left of the weights is in no checkpoint."""
        self.on_read: Callable[[StepResult], None] = lambda _: None

    def add(self, pending: Pending) -> None:
        """Read what is due. Raises `DivergenceError` for a loss that is not finite, on all processes together."""
        sums, norm = pending.sums, pending.parameter_norm
        values = [sums.loss, sums.gradient_norm, *sums.metrics.values(), *([] if norm is None else [norm])]
        self._pending.append((pending, LateRead(values)))
        while len(self._pending) > self._depth:
            self._read()

    def read_all(self) -> StepResult | None:
        """The newest step's; None before the first one of this start."""
        while self._pending:
            self._read()
        return self._newest

    def before_checkpoint(self) -> StepResult | None:
        """Return the same as `read_all`; raises `DivergenceError` also where a gradient was not finite: the weights are
        not by now."""
        newest = self.read_all()
        if self._broken:
            raise DivergenceError(
                f"step {self._broken}: the norm of the gradient is not finite, and the weights are not since then. No "
                "checkpoint of them is written. Lower model.optim.lr, or set trainer.gradient_clip_val."
            )
        return newest

    def _read(self) -> None:
        pending, values = self._pending.popleft()
        if self._newest is None or pending.step % _CHECKED_EVERY == 0:
            self._check()
        loss, gradient_norm, *further = values.numbers()
        metrics = dict(zip(pending.sums.metrics, further, strict=False))
        if not math.isfinite(loss):
            self._check()  # numbers that nothing has written are no divergence
            raise DivergenceError(self._sentence(pending, loss))
        if not math.isfinite(gradient_norm):
            self.nonfinite_norms += 1
            self._broken = self._broken or pending.step
        self._newest = StepResult(
            pending.step,
            loss,
            gradient_norm,
            pending.lr,
            pending.consumed_samples,
            pending.tokens_per_second,
            pending.time,
            None if pending.parameter_norm is None else further[-1],
            pending.seconds,
            metrics,
        )
        self.on_read(self._newest)

    def _sentence(self, pending: Pending, loss: float) -> str:
        """A collective: every process has read the same loss."""
        rank = dist.get_rank()
        are_finite: list[bool] = [True] * dist.get_world_size()
        dist.all_gather_object(are_finite, math.isfinite(pending.sums.share.item()), hosts.group())
        guilty = [str(number) for number, is_finite in enumerate(are_finite) if not is_finite]
        last = pending.consumed_samples
        sentence = (
            f"rank {rank}, step {pending.step}: the loss is {loss}, from rank{'s' if len(guilty) > 1 else ''} "
            f"{', '.join(guilty[:8])}{', …' if len(guilty) > 8 else ''}. No checkpoint of this step is written. Lower "
            f"model.optim.lr, set trainer.gradient_clip_val, or look at samples {last - self._global_batch} to "
            f"{last - 1} of the data."
        )
        return f"{sentence} {self._nan_cause}".rstrip()
