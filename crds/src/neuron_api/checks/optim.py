"""`model.optim` and its `sched`: arguments that the chosen optimizer and schedule have, rates, lengths."""

from collections.abc import Iterator, Mapping
from typing import Final

from neuron_api.config import OptimConfig, SchedulerConfig, TrainingConfig
from neuron_api.findings.finding import Finding
from neuron_api.findings.registry import make_finding
from neuron_api.schema.key_path import fields

_COMMON: Final = ("name", "lr", "weight_decay", "capturable", "sched")


def check(config: TrainingConfig) -> Iterator[Finding]:
    """Yield the findings about arguments, rates, eps and the schedule."""
    yield from _optimizer(config.model.optim)
    yield from _schedule(config)


def _optimizer(optim: OptimConfig) -> Iterator[Finding]:
    yield from _unknown_arguments(optim)
    if optim.lr == 0 and not optim.computes_rate:
        yield make_finding(2601, "model.optim.lr", "0 learns nothing.")
    if optim.computes_rate and optim.lr:
        yield make_finding(2603, "model.optim.lr", f"{optim.lr} is given, and relative_step computes the rate.")
    if optim.name == "adafactor" and optim.warmup_init and not optim.relative_step:
        yield make_finding(2604, "model.optim.warmup_init", "it needs relative_step, which is False.")
    yield from _eps(optim)
    if optim.name == "sgd" and optim.nesterov and (not optim.momentum or optim.dampening):
        yield make_finding(
            2606,
            "model.optim.nesterov",
            f"it needs momentum above 0 and no dampening; they are {optim.momentum:g} and {optim.dampening:g}.",
        )


def _unknown_arguments(optim: OptimConfig) -> Iterator[Finding]:
    common = [key for key in _COMMON if key != "weight_decay" or optim.spec.has_weight_decay]
    arguments = [*common, *optim.spec.keys]
    for key, info in fields(OptimConfig).items():
        neutral = 0 if key == "weight_decay" else info.get_default()
        if key not in arguments and getattr(optim, key) != neutral:
            remedy = f"It has {', '.join(arguments)}."
            yield make_finding(2602, f"model.optim.{key}", f"{optim.name} has no such argument.", remedy)


def _eps(optim: OptimConfig) -> Iterator[Finding]:
    eps, key = optim.eps, "model.optim.eps"
    if eps is None or "eps" not in optim.spec.keys:
        return
    if isinstance(eps, tuple):
        if not optim.spec.has_eps_pair:
            yield make_finding(
                2605, key, f"a pair is adafactor's, and the optimizer is {optim.name}.", "Give one number."
            )
        elif min(eps) <= 0:
            yield make_finding(2605, key, f"{eps} are not both above 0.")
    elif optim.spec.has_eps_pair:
        yield make_finding(2605, key, f"{optim.name} needs a pair, not {eps:g}.", "Give two numbers: [1e-30, 1e-3].")
    elif eps <= 0:
        yield make_finding(2605, key, f"{eps:g} is not above 0.")


_SECTION: Final = "model.optim.sched"
_SCHEDULE_COMMON: Final = ("name", "max_steps", "last_epoch", "warmup_steps", "warmup_ratio", "min_lr", "interval")
_HOLD: Final = ("hold_steps", "hold_ratio")
_CONSTANT: Final = ("constant_steps", "constant_ratio")
_SCHEDULE_ARGUMENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "CosineAnnealing": _CONSTANT,
    "WarmupHoldPolicy": _HOLD,
    "WarmupAnnealHold": (*_HOLD, *_CONSTANT),
    "SquareRootConstantPolicy": _CONSTANT,
    "NoamAnnealing": ("d_model",),
    "NoamHoldAnnealing": (*_HOLD, "decay_rate"),
    "PolynomialDecayAnnealing": ("power", "cycle"),
    "PolynomialHoldDecayAnnealing": (*_HOLD, "power", "cycle"),
    "StepLR": ("step_size", "gamma"),
    "ExponentialLR": ("gamma",),
}
"""Besides those that all of them take."""


def _schedule(config: TrainingConfig) -> Iterator[Finding]:
    """Yield the findings about a schedule."""
    sched, optim = config.model.optim.sched, config.model.optim
    for name in ("warmup", "constant", "hold"):
        if getattr(sched, f"{name}_steps") is not None and getattr(sched, f"{name}_ratio") is not None:
            yield make_finding(2612, f"{_SECTION}.{name}_ratio", f"it contradicts {name}_steps.")
    if sched.min_lr is not None and sched.min_lr > optim.lr > 0:
        yield make_finding(2614, f"{_SECTION}.min_lr", f"{sched.min_lr:g} is more than model.optim.lr {optim.lr:g}.")
    yield from _lengths(config, sched)
    yield from _missing_schedule(config)
    if sched.name == "StepLR" and sched.step_size is None:
        yield make_finding(2617, f"{_SECTION}.step_size", "it is not set, and StepLR needs it.")
    for key, info in fields(SchedulerConfig).items():
        arguments = (*_SCHEDULE_COMMON, *_SCHEDULE_ARGUMENTS.get(sched.name, ()))
        if key not in arguments and getattr(sched, key) not in (info.get_default(), 0):
            yield make_finding(2618, f"{_SECTION}.{key}", f"{sched.name} does not read it.")


def _missing_schedule(config: TrainingConfig) -> Iterator[Finding]:
    optim = config.model.optim
    if optim.computes_rate:
        return
    if "sched" not in optim.model_fields_set:
        yield make_finding(2619, _SECTION, f"it is not set: the rate is constant, {optim.lr:g} from the first step on.")


def _lengths(config: TrainingConfig, sched: SchedulerConfig) -> Iterator[Finding]:
    total = sched.max_steps or config.trainer.max_steps
    if total <= 0:
        return
    warmup, constant = sched.warmup_steps or 0, sched.constant_steps or 0
    if warmup > total:
        yield make_finding(
            2615, f"{_SECTION}.warmup_steps", f"{warmup} is more than the {total} steps of the schedule."
        )
    elif sched.name == "CosineAnnealing" and constant and warmup + constant >= total:
        yield make_finding(
            2616,
            f"{_SECTION}.constant_steps",
            f"warmup_steps {warmup} + constant_steps {constant} leave no room for the decay in {total} steps.",
        )
