"""`model.optim`: the optimizer, its arguments, and below it `sched`: the learning rate over the steps."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from .markers import NoEffect
from .optimizers import OPTIMIZERS, OptimizerSpec
from .section import Flag, Number, Section, Share

if TYPE_CHECKING:
    OptimizerName = str
else:
    OptimizerName = Literal[tuple(OPTIMIZERS)]
from typing import Final, Literal, get_args

from .markers import NotSupported, OnlyValues
from .section import Count

_HOLD: Final = NoEffect("WarmupHoldPolicy holds the rate to the end")

ScheduleName = Literal[
    "LinearAnnealingWithWarmUp",
    "CosineAnnealing",
    "WarmupPolicy",
    "WarmupHoldPolicy",
    "SquareAnnealing",
    "NoamAnnealing",
    "WarmupAnnealing",
    "StepLR",
    "ExponentialLR",
    "SquareRootAnnealing",
    "InverseSquareRootAnnealing",
    "NoamHoldAnnealing",
    "PolynomialDecayAnnealing",
    "PolynomialHoldDecayAnnealing",
    "WarmupAnnealHold",
    "SquareRootConstantPolicy",
    "CyclicLR",
    "ReduceLROnPlateau",
]
"""The document's nine, then NeMo's others."""

_NOT_BUILT: Final = (
    "NoamHoldAnnealing",
    "PolynomialHoldDecayAnnealing",
    "WarmupAnnealHold",
    "SquareRootConstantPolicy",
    "CyclicLR",
    "ReduceLROnPlateau",
)
_SUPPORTED: Final = OnlyValues(tuple(name for name in get_args(ScheduleName) if name not in _NOT_BUILT))


class SchedulerConfig(Section):
    """The learning rate over the steps."""

    name: Annotated[ScheduleName, _SUPPORTED] = "LinearAnnealingWithWarmUp"
    """Name of the schedule. Default LinearAnnealingWithWarmUp."""

    warmup_steps: Count | None = Field(default=None, ge=0)
    """Steps over which the rate rises from 0; not together with warmup_ratio. Default 0."""

    warmup_ratio: Number | None = Field(default=None, ge=0, le=1)
    """warmup_steps as a part of max_steps. Default null."""

    max_steps: Count | None = Field(default=None, ge=1)
    """Steps after which the rate is at its end; -1, as `${trainer.max_steps}` may give, is the default. Default:
    trainer.max_steps, and where that is -1 the steps of max_epochs."""

    constant_steps: Count | None = Field(default=None, ge=0)
    """CosineAnnealing: steps at min_lr at the end; not together with constant_ratio. Default 0."""

    constant_ratio: Number | None = Field(default=None, ge=0, le=1)
    """constant_steps as a part of max_steps. Default null."""

    min_lr: Number | None = Field(default=None, ge=0)
    """The rate does not fall below this; at most optim.lr. Default 0 (SquareAnnealing 1e-5)."""

    hold_steps: Annotated[Count | None, _HOLD] = Field(default=None, ge=0)
    """WarmupHoldPolicy: steps at the full rate after the warm-up. Default 0."""

    hold_ratio: Annotated[Number | None, _HOLD] = Field(default=None, ge=0, le=1)
    """hold_steps as a part of max_steps. Default null."""

    d_model: Count | None = Field(default=None, ge=1)
    """NoamAnnealing: width of the model. Default: the hidden size."""

    step_size: Count | None = Field(default=None, ge=1)
    """StepLR: epochs after which the rate is multiplied by gamma; needed there. Default null."""

    gamma: Number | None = Field(default=None, gt=0)
    """StepLR and ExponentialLR: the factor. Default 0.1 and 0.9."""

    interval: Literal["epoch", "step"] | None = None
    """What StepLR and ExponentialLR count. Default epoch, as upstream."""

    last_epoch: Count = Field(default=-1, ge=-1)
    """Number of the last epoch of a schedule that is continued; a resume sets it. Default -1: from the start."""

    power: Number | None = Field(default=None, gt=0)
    """Polynomial schedules: the exponent. Default null: the schedule's."""

    cycle: Annotated[Flag, NotSupported("With False the rate stays at min_lr after max_steps.")] = False
    """Polynomial schedules: start again after max_steps. Default False."""

    decay_rate: Annotated[Number | None, NotSupported()] = None
    """NoamHoldAnnealing: exponent of the decay. Default null: 0.5."""

    @model_validator(mode="before")
    @classmethod
    def _minus_one_is_the_trainers(cls, values: Any) -> Any:
        """`${trainer.max_steps}` of a run that epochs end."""
        if isinstance(values, dict) and values.get("max_steps") in (-1, "-1"):
            return {**values, "max_steps": None}
        return values


_DEFAULT_DECAY, _DEFAULT_BETAS = 0.01, (0.9, 0.999)

Eps = Annotated[Number | tuple[Number, Number], "untyped"]
"""A number, or adafactor's pair."""


class OptimConfig(Section):
    """The optimizer and its parameters."""

    name: OptimizerName
    """Name of the optimizer. adamw_fp32OptState keeps its moments in fp32 whatever the weights are. Required."""

    lr: Annotated[Number, "conditional"] = Field(ge=0)
    """Base learning rate. Required (adafactor with relative_step: leave it out)."""

    weight_decay: Number = Field(default=_DEFAULT_DECAY, ge=0)
    """Decoupled weight decay (adamw), or L2 in the gradient (others). Default 0.01 for adamw and adamw_fp32OptState,
    torch's; 0 for the others."""

    capturable: Annotated[Flag, NoEffect("PyTorch has no captured graphs there")] = False
    """Accepted for compatibility; dropped on devices where PyTorch forbids it. Default False."""

    betas: tuple[Share, Share] = _DEFAULT_BETAS
    """Decay rates of the moment estimates. Default 0.9, 0.999 (novograd 0.95, 0.98)."""

    eps: Eps | None = None
    """Added to the denominator. Default null: 1e-8; 1e-6 for adamw_fp32OptState and adadelta, 1e-10 for adagrad, the
    pair 1e-30, 1e-3 for adafactor."""

    amsgrad: Flag = False
    """adam, adamw, novograd: use the largest of the second moments. Default False."""

    momentum: Number = Field(default=0, ge=0)
    """sgd, rmsprop: momentum. Default 0."""

    dampening: Number = 0
    """sgd: dampening of the momentum. Default 0."""

    nesterov: Flag = False
    """sgd: Nesterov's momentum; needs momentum and no dampening. Default False."""

    rho: Number = Field(default=0.9, ge=0, le=1)
    """adadelta: decay of the squares. Default 0.9, torch's."""

    lr_decay: Number = Field(default=0, ge=0)
    """adagrad: decay of the rate. Default 0."""

    initial_accumulator_value: Number = Field(default=0, ge=0)
    """adagrad: the sum of squares at the start. Default 0."""

    alpha: Number = Field(default=0.99, ge=0)
    """rmsprop: decay of the squares. Default 0.99, torch's."""

    centered: Flag = False
    """rmsprop: divide by an estimate of the variance. Default False."""

    etas: tuple[Number, Number] = (0.5, 1.2)
    """rprop: factors of decrease and increase. Default 0.5, 1.2, torch's."""

    step_sizes: tuple[Number, Number] = (1e-6, 50)
    """rprop: smallest and largest step. Default 1e-6, 50, torch's."""

    correct_bias: Flag = True
    """adamw_fp32OptState: correct the bias of the moments. Default True."""

    grad_averaging: Flag = False
    """novograd: weigh the gradient by 1 - beta1. Default False."""

    luc: Flag = False
    """novograd: clip each layer's update. Default False."""

    luc_trust: Number = Field(default=1e-3, gt=0)
    """novograd: bound of that clipping, relative to the weights. Default 1e-3."""

    clip_threshold: Number = Field(default=1.0, gt=0)
    """adafactor: root mean square that an update is clipped to. Default 1.0."""

    decay_rate: Number = -0.8
    """adafactor: exponent of the decay of the squares. Default -0.8."""

    beta1: Share | None = None
    """adafactor: decay of the first moment. Default null: none is kept."""

    scale_parameter: Flag = True
    """adafactor: scale the rate by the root mean square of the weights. Default True."""

    relative_step: Flag = False
    """adafactor: the rate follows from the step; not together with lr. Default False."""

    warmup_init: Flag = False
    """adafactor: start the relative step low; needs relative_step. Default False."""

    min_step: Number = Field(default=1e-2, gt=0)
    """adafactor: largest relative step. Default 1e-2."""

    sched: SchedulerConfig = SchedulerConfig(name="WarmupPolicy")
    """The learning rate over the steps. Default: without this section the rate is constant, as upstream."""

    @model_validator(mode="before")
    @classmethod
    def _defaults_by_name(cls, values: Any) -> Any:
        """Fill in defaults that depend on the optimizer."""
        if not isinstance(values, dict):
            return values
        name = values.get("name")
        spec = OPTIMIZERS.get(name) if isinstance(name, str) else None
        if spec is None:
            return values
        defaults = dict(spec.defaults)
        if spec.schedule_arguments and values.get(spec.schedule_arguments[0]) in (True, 1):
            defaults["lr"] = 0.0
        return {**values, **{key: value for key, value in defaults.items() if values.get(key) is None}}

    @property
    def spec(self) -> OptimizerSpec:
        """Return what the optimizer takes and keeps."""
        return OPTIMIZERS[self.name]

    @property
    def computes_rate(self) -> bool:
        """Return whether the optimizer's own schedule takes the place of `lr` and `sched`."""
        return any(getattr(self, key) for key in self.spec.schedule_arguments[:1])

    @property
    def states(self) -> tuple[str, ...]:
        """Return the names of the tensors of a parameter's size that the optimizer keeps for it."""
        options = self.spec.optional_states.items()
        fields = type(self).model_fields
        return *self.spec.states, *(state for key, state in options if getattr(self, key) != fields[key].default)
