"""A check before the first step that every periodic checkpoint has the validation that `monitor` ranks it by.

A checkpoint without one ranks last, so that `save_top_k` would delete it as if it were the worst. Those that no rhythm
asks for (the last one, one on request, `train_time_interval`) may have none.
"""

from dataclasses import dataclass
from typing import Final

from neuron_api.config import CheckpointCallbackParams
from neuron_api.findings.finding import Finding, error
from neuron_trainer.checkpoint import retention

_MAX_SAVES: Final = 1000
"""Checkpoints that are checked: after as many, every combination of the rhythms has come."""


@dataclass(frozen=True, slots=True)
class Validations:
    """When Lightning validates."""

    interval: float
    """Batches between two."""
    every_epochs: int | None
    """The interval counts inside of every so manyth epoch; None: over the borders of epochs."""
    epoch_steps: int
    is_on: bool = True

    def follows(self, step: int) -> bool:
        """Return whether one follows so many finished steps."""
        if not self.is_on:
            return False
        if self.every_epochs is None:
            return step % self.interval == 0
        epoch, batch = divmod(step - 1, self.epoch_steps)
        return (epoch + 1) % self.every_epochs == 0 and (batch + 1) % self.interval == 0


def check(params: CheckpointCallbackParams, validations: Validations, done: int, total: int | None) -> Finding | None:
    """Return the first checkpoint after `done` steps that cannot be ranked, as a finding; None if all can."""
    every = params.every_n_train_steps or params.every_n_epochs * validations.epoch_steps
    if params.monitor != retention.VALIDATION or not every:
        return None
    first = done - done % every + every
    last = first + _MAX_SAVES * every if total is None else min(total, first + _MAX_SAVES * every)
    step = next((step for step in range(first, last + 1, every) if not validations.follows(step)), None)
    if step is None:
        return None
    section = "exp_manager.checkpoint_callback_params"
    when = f"validation is every {validations.interval:g} steps" if validations.is_on else "validation is off"
    if validations.is_on and validations.every_epochs is not None:
        when += f" of an epoch of {validations.epoch_steps}"
        when += f", in every epoch whose number divides by {validations.every_epochs}" * (validations.every_epochs > 1)
    return error(
        f"{section}.monitor",
        f"{params.monitor} is not known at step {step}, where a checkpoint is written (every {every} steps; {when}): "
        "it could not be ranked, and save_top_k would delete it as the worst.",
        f"Set {section}.every_n_train_steps to a multiple of trainer.val_check_interval, with "
        "trainer.check_val_every_n_epoch: null where it is no part of an epoch; or monitor to step.",
    )
