"""The configured schedule over the steps of a run: `lr_schedules` has the formulas, torch's LambdaLR applies them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from neuron_api.config import OptimConfig
from neuron_api.findings.finding import error
from neuron_trainer.errors import InputError

from . import lr_schedules
from .lr_schedules import Terms

_CURVES: Final[Mapping[str, Callable[[int, Terms], float]]] = {
    "LinearAnnealingWithWarmUp": lr_schedules.linear,
    "CosineAnnealing": lr_schedules.cosine,
    "WarmupPolicy": lr_schedules.constant,
    "WarmupHoldPolicy": lr_schedules.constant,
    "SquareAnnealing": lr_schedules.square,
    "NoamAnnealing": lr_schedules.noam,
    "WarmupAnnealing": lr_schedules.straight,
    "StepLR": lr_schedules.staircase,
    "ExponentialLR": lr_schedules.exponential,
    "SquareRootAnnealing": lr_schedules.square_root,
    "InverseSquareRootAnnealing": lr_schedules.inverse_square_root,
    "PolynomialDecayAnnealing": lr_schedules.polynomial,
}
SUPPORTED_SCHEDULES: Final = tuple(_CURVES)
_FLOORS: Final = {"SquareAnnealing": 1e-5}
_GAMMAS: Final = {"StepLR": 0.1, "ExponentialLR": 0.9}


@dataclass(frozen=True, slots=True)
class Extent:
    """What a schedule must know of the run."""

    max_steps: int
    epoch_steps: Callable[[], int]
    """Optimizer steps of an epoch; asked only by schedules that count epochs."""
    hidden_size: int


class LRSchedule(LambdaLR):
    """Takes the number of finished steps from a checkpoint and nothing else: the rate is the file's curve there.

    torch restores the base rates, and leaves the rate of the next step where the old curve ended.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Set the rate of the step after `last_epoch` finished ones, for each group of the optimizer."""
        self.last_epoch, self._step_count = state_dict["last_epoch"], state_dict["last_epoch"] + 1
        self._last_lr = [
            base * share(self.last_epoch) for base, share in zip(self.base_lrs, self.lr_lambdas, strict=True)
        ]
        for group, rate in zip(self.optimizer.param_groups, self._last_lr, strict=True):
            group["lr"] = rate


def schedule(optim: OptimConfig, optimizer: Optimizer, extent: Extent) -> LRSchedule:
    """The configured schedule; its state is the number of steps done, never the length of the curve."""
    rate, base = rates(optim, extent), optim.lr or 1.0  # adafactor's relative steps have no base rate of their own
    for group in optimizer.param_groups:
        group["lr"] = base
    return LRSchedule(optimizer, lambda step: rate(step) / base)


def rates(optim: OptimConfig, extent: Extent) -> Callable[[int], float]:
    """The rate that is used in each optimizer step 0, 1, …; raises `InputError`."""
    if optim.computes_rate:
        return lambda step: lr_schedules.relative(step, optim.min_step, warmup_init=optim.warmup_init)
    sched, curve = optim.sched, _CURVES[optim.sched.name]
    if sched.name == "StepLR" and sched.step_size is None:
        raise InputError([error("model.optim.sched.step_size", "StepLR needs it.", "Give a number of epochs.")])
    terms, done = _terms(optim, extent), sched.last_epoch + 1
    counted = extent.epoch_steps() if sched.name in _GAMMAS and sched.interval != "step" else 1
    return lambda step: curve(done + step // counted, terms)


def _terms(optim: OptimConfig, extent: Extent) -> Terms:
    """A share is of max_steps and is rounded down, as NeMo does."""
    sched = optim.sched
    total = sched.max_steps or extent.max_steps
    return Terms(
        base=optim.lr,
        warmup=_steps(sched.warmup_steps, sched.warmup_ratio, total),
        total=total,
        floor=_FLOORS.get(sched.name, 0.0) if sched.min_lr is None else sched.min_lr,
        constant=_steps(sched.constant_steps, sched.constant_ratio, total),
        power=sched.power or 1.0,
        width=sched.d_model or extent.hidden_size,
        step_size=sched.step_size or 1,
        gamma=sched.gamma or _GAMMAS.get(sched.name, 1.0),
    )


def _steps(steps: int | None, ratio: float | None, total: int) -> int:
    return int(ratio * total) if ratio is not None else steps or 0
