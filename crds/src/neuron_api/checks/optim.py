"""`model.optim`: arguments that the chosen optimizer has."""

from collections.abc import Iterator
from typing import Final

from neuron_api.config import OptimConfig, TrainingConfig
from neuron_api.findings.finding import Finding
from neuron_api.findings.registry import make_finding
from neuron_api.schema.key_path import fields

_COMMON: Final = ("name", "lr", "weight_decay", "capturable", "sched")


def check(config: TrainingConfig) -> Iterator[Finding]:
    """Yield the findings about arguments, rates and eps."""
    optim = config.model.optim
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
