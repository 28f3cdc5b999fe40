"""The optimizers there are: what each takes and keeps, as plain data.

The schema, the checks, the CEL rules, the memory estimate and the trainer read these. An optimizer of torch.optim needs
nothing else; one of our own has its algorithm in `neuron_trainer.optim`. Arguments are keys of `model.optim`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class OptimizerSpec:
    """One value of `model.optim.name`."""

    name: str
    arguments: tuple[str, ...]
    """Arguments of the constructor beside lr and weight_decay."""
    states: tuple[str, ...] = ()
    """Tensors of the size of the parameter that it keeps for each; scalars, rows and columns are not listed."""
    optional_states: Mapping[str, str] = field(default_factory=dict)
    """Arguments, and the tensor that each adds where it is not the default."""
    schedule_arguments: tuple[str, ...] = ()
    """Arguments of a schedule that takes the place of `sched`; the first switches it on."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Where they are others than the schema's."""
    has_weight_decay: bool = True
    has_eps_pair: bool = False
    """Whether `eps` is a pair, not a number."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Return what may be written beside name, lr, weight_decay, capturable and sched."""
        return *self.arguments, *self.schedule_arguments


_ADAM: Final = ("betas", "eps", "amsgrad")
_MOMENTS: Final = ("exp_avg", "exp_avg_sq")
_AMSGRAD: Final = {"amsgrad": "max_exp_avg_sq"}
_NO_DECAY: Final = {"weight_decay": 0.0}

OPTIMIZERS: Final[Mapping[str, OptimizerSpec]] = {
    spec.name: spec
    for spec in (
        OptimizerSpec("adamw", _ADAM, _MOMENTS, _AMSGRAD),
        OptimizerSpec("adamw_fp32OptState", ("betas", "eps", "correct_bias"), _MOMENTS),
        OptimizerSpec(
            "sgd",
            ("momentum", "dampening", "nesterov"),
            optional_states={"momentum": "momentum_buffer"},
            defaults=_NO_DECAY,
        ),
        OptimizerSpec("adam", _ADAM, _MOMENTS, _AMSGRAD, defaults=_NO_DECAY),
        OptimizerSpec("adadelta", ("rho", "eps"), ("square_avg", "acc_delta"), defaults=_NO_DECAY),
        OptimizerSpec("adamax", ("betas", "eps"), ("exp_avg", "exp_inf"), defaults=_NO_DECAY),
        OptimizerSpec("adagrad", ("lr_decay", "initial_accumulator_value", "eps"), ("sum",), defaults=_NO_DECAY),
        OptimizerSpec(
            "rmsprop",
            ("alpha", "eps", "centered", "momentum"),
            ("square_avg",),
            {"centered": "grad_avg", "momentum": "momentum_buffer"},
            defaults=_NO_DECAY,
        ),
        OptimizerSpec(
            "rprop", ("etas", "step_sizes"), ("prev", "step_size"), defaults=_NO_DECAY, has_weight_decay=False
        ),
        OptimizerSpec(
            "novograd",
            ("betas", "eps", "grad_averaging", "amsgrad", "luc", "luc_trust"),
            ("exp_avg",),
            defaults={**_NO_DECAY, "betas": (0.95, 0.98)},
        ),
        OptimizerSpec(
            "adafactor",
            ("eps", "clip_threshold", "decay_rate", "beta1", "scale_parameter"),
            optional_states={"beta1": "exp_avg"},
            schedule_arguments=("relative_step", "warmup_init", "min_step"),
            defaults=_NO_DECAY,
            has_eps_pair=True,
        ),
    )
}
