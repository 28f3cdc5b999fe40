"""`model.optim.sched`: the learning rate over the steps."""

from typing import Annotated, Any, Final, Literal, get_args

from pydantic import Field, model_validator

from .markers import NoEffect, NotSupported, OnlyValues
from .section import Count, Flag, Number, Section

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
