"""The learning rate of each step (B-9): formulas as pure functions of the number of steps done, which torch's LambdaLR
applies over the steps of a run.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from neuron_api.config import OptimConfig
from neuron_api.findings.finding import error
from neuron_trainer.errors import InputError


@dataclass(frozen=True, slots=True)
class Terms:
    """Numbers of one schedule; a formula reads those that it needs. The letters are those of B-9."""

    base: float
    """b: the base rate."""
    warmup: int = 0
    """w: steps of warm-up."""
    total: int = 1
    """T: the step after which a schedule is at its end."""
    floor: float = 0.0
    """m: min_lr."""
    constant: int = 0
    """c: steps at the floor at the end (cosine)."""
    power: float = 1.0
    width: int = 1
    """d_model (Noam)."""
    step_size: int = 1
    """Epochs of one step of the staircase."""
    gamma: float = 1.0


Curve = Callable[[int, Terms], float]
"""From s = 0, 1, …, steps being done, to the rate of the next one."""


def framed(curve: Curve) -> Curve:
    """Add the frame of NeMo's policies. s <= w: b (s+1)/(w+1) where there is a warm-up; then the curve; s > T: m."""

    def rate(s: int, t: Terms) -> float:
        if t.warmup > 0 and s <= t.warmup:
            return t.base * (s + 1) / (t.warmup + 1)
        return t.floor if s > t.total else curve(s, t)

    rate.__doc__ = curve.__doc__
    return rate


def cosine(s: int, t: Terms) -> float:
    """m + (b-m) (1 + cos(pi x))/2; with constant steps x is 1 at T-c already, and the warm-up is another one."""
    return _held_cosine(s, t) if t.constant > 0 else _cosine(s, t)


@framed
def _cosine(s: int, t: Terms) -> float:
    return _wave((s - t.warmup) / (t.total - t.warmup), t)


def _held_cosine(s: int, t: Terms) -> float:
    """s <= w: b s/w; m after D = T-w-c more steps. No room for a decay (D <= 0): m right after the warm-up."""
    if t.warmup > 0 and s <= t.warmup:
        return t.base * s / t.warmup
    length = t.total - t.warmup - t.constant
    if s > t.warmup + length:
        return t.floor
    return _wave((s - t.warmup) / length, t) if length else t.base


def _wave(x: float, t: Terms) -> float:
    return t.floor + (t.base - t.floor) * 0.5 * (1 + math.cos(math.pi * x))


@framed
def square(s: int, t: Terms) -> float:
    """b ((T-s)/(T-w))², not below m."""
    return max(t.floor, t.base * ((t.total - s) / (t.total - t.warmup)) ** 2)


@framed
def square_root(s: int, t: Terms) -> float:
    """b sqrt((T-s)/T), not below m; the length does not begin after the warm-up."""
    return max(t.floor, t.base * math.sqrt((t.total - s) / t.total))


@framed
def straight(s: int, t: Terms) -> float:
    """m + (b-m) (T-s)/(T-w)."""
    return t.floor + (t.base - t.floor) * (t.total - s) / (t.total - t.warmup)


@framed
def polynomial(s: int, t: Terms) -> float:
    """m + (b-m) ((T-s)/(T-w))^power."""
    return float(t.floor + (t.base - t.floor) * ((t.total - s) / (t.total - t.warmup)) ** t.power)


@framed
def inverse_square_root(s: int, t: Terms) -> float:
    """b sqrt((w+1)/(s+1))."""
    return t.base * math.sqrt((t.warmup + 1) / (s + 1))


@framed
def constant(_: int, t: Terms) -> float:
    """b. WarmupPolicy, and WarmupHoldPolicy: it stays at b after its hold, whose length so changes nothing."""
    return t.base


def linear(s: int, t: Terms) -> float:
    """Return the rate as `transformers` computes it: b s/w in the warm-up, 0 in the first step; then straight to 0 at
    T; min_lr is not used."""
    if s < t.warmup:
        return t.base * s / max(1, t.warmup)
    return t.base * max(0.0, (t.total - s) / max(1, t.total - t.warmup))


def noam(s: int, t: Terms) -> float:
    """b d^-0.5 min(s^-0.5, s w^-1.5) with s >= 1; not below m after the warm-up; no end (arXiv:1706.03762, 5.3)."""
    s = max(1, s)
    rising = s * t.warmup**-1.5 if t.warmup else float("inf")
    rate = float(t.base * t.width**-0.5 * min(s**-0.5, rising))
    return max(rate, t.floor) if s > t.warmup else rate


def staircase(s: int, t: Terms) -> float:
    """torch's StepLR, s in epochs or steps: b gamma^(s // step_size)."""
    return float(t.base * t.gamma ** (s // t.step_size))


def exponential(s: int, t: Terms) -> float:
    """torch's ExponentialLR, s in epochs or steps: b gamma^s."""
    return float(t.base * t.gamma**s)


def relative(s: int, min_step: float, *, warmup_init: bool) -> float:
    """adafactor's `relative_step` (arXiv:1804.04235, section 8), with t = s + 1: min(min_step, t^-0.5).

    With `warmup_init` min(1e-6 t, t^-0.5).
    """
    t = s + 1
    return float(min(1e-6 * t if warmup_init else min_step, t**-0.5))


_CURVES: Final[Mapping[str, Callable[[int, Terms], float]]] = {
    "LinearAnnealingWithWarmUp": linear,
    "CosineAnnealing": cosine,
    "WarmupPolicy": constant,
    "WarmupHoldPolicy": constant,
    "SquareAnnealing": square,
    "NoamAnnealing": noam,
    "WarmupAnnealing": straight,
    "StepLR": staircase,
    "ExponentialLR": exponential,
    "SquareRootAnnealing": square_root,
    "InverseSquareRootAnnealing": inverse_square_root,
    "PolynomialDecayAnnealing": polynomial,
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
        return lambda step: relative(step, optim.min_step, warmup_init=optim.warmup_init)
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
