"""`model.optim`: arguments that the chosen optimizer has."""

from collections.abc import Iterator, Mapping
from typing import Final

from neuron_api.config import OptimConfig, TrainingConfig
from neuron_api.findings.finding import Finding
from neuron_api.findings.registry import make_finding
from neuron_api.schema.key_path import fields

_COMMON: Final = ("name", "lr", "weight_decay", "capturable", "sched")
_ADAM: Final = ("betas", "eps", "amsgrad")
ARGUMENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "adamw": _ADAM,
    "adam": _ADAM,
    "adamw_fp32OptState": ("betas", "eps", "correct_bias"),
    "adamax": ("betas", "eps"),
    "sgd": ("momentum", "dampening", "nesterov"),
    "adadelta": ("rho", "eps"),
    "adagrad": ("lr_decay", "initial_accumulator_value", "eps"),
    "rmsprop": ("alpha", "eps", "centered", "momentum"),
    "rprop": ("etas", "step_sizes"),
    "novograd": ("betas", "eps", "grad_averaging", "amsgrad", "luc", "luc_trust"),
    "adafactor": ("eps", "clip_threshold", "decay_rate", "beta1", "scale_parameter", "relative_step", "warmup_init",
                  "min_step"),
}  # fmt: skip
"""Besides name, lr, weight_decay (not rprop), capturable and sched."""


def check(config: TrainingConfig) -> Iterator[Finding]:
    """Yield the findings about arguments, rates and eps."""
    optim = config.model.optim
    yield from _unknown_arguments(optim)
    computes_rate = optim.name == "adafactor" and optim.relative_step
    if optim.lr == 0 and not computes_rate:
        yield make_finding(2601, "model.optim.lr", "0 learns nothing.")
    if computes_rate and optim.lr:
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
    arguments = [*_COMMON, *ARGUMENTS[optim.name]]
    if optim.name == "rprop":
        arguments.remove("weight_decay")
    for key, info in fields(OptimConfig).items():
        neutral = 0 if key == "weight_decay" else info.get_default()
        if key not in arguments and getattr(optim, key) != neutral:
            remedy = f"It has {', '.join(arguments)}."
            yield make_finding(2602, f"model.optim.{key}", f"{optim.name} has no such argument.", remedy)


def _eps(optim: OptimConfig) -> Iterator[Finding]:
    eps, key = optim.eps, "model.optim.eps"
    if eps is None or "eps" not in ARGUMENTS[optim.name]:
        return
    if isinstance(eps, tuple):
        if optim.name != "adafactor":
            yield make_finding(
                2605, key, f"a pair is adafactor's, and the optimizer is {optim.name}.", "Give one number."
            )
        elif min(eps) <= 0:
            yield make_finding(2605, key, f"{eps} are not both above 0.")
    elif optim.name == "adafactor":
        yield make_finding(2605, key, f"adafactor needs a pair, not {eps:g}.", "Give two numbers: [1e-30, 1e-3].")
    elif eps <= 0:
        yield make_finding(2605, key, f"{eps:g} is not above 0.")
