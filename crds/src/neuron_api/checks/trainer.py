"""`trainer`: what Lightning's Trainer would refuse later, and what the framework sets itself."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from neuron_api.config import TrainingConfig
from neuron_api.findings.finding import Finding
from neuron_api.findings.registry import make_finding
from neuron_api.platform.topology import Topology

from .rule import ConfigRule, Equals, IsAbove, IsOther, IsSet, findings, for_keys

_OWNED: Final = {
    "accelerator": "spec.platform.accelerator decides",
    "strategy": "distributed_strategy decides",
    "plugins": "the framework chooses them",
    "logger": "exp_manager decides",
    "precision": "the precision section decides",
    "use_distributed_sampler": "the data section's rules deal the samples",
    "enable_checkpointing": "exp_manager.create_checkpoint_callback decides",
    "callbacks": "exp_manager's switches add them",
}
_LIMITS: Final = (
    "limit_val_batches",
    "limit_test_batches",
    "limit_train_batches",
    "limit_predict_batches",
    "overfit_batches",
)
_CLOCK: Final = re.compile(r"\d+:\d{1,2}:\d{1,2}:\d{1,2}")
LONGER_THAN_AN_EPOCH: Final = (
    "Use fewer steps, or set trainer.check_val_every_n_epoch to null to count over epoch borders."
)
"""Remedy of a val_check_interval that no epoch reaches."""
_UNITS: Final = frozenset(("weeks", "days", "hours", "minutes", "seconds"))


def check(config: TrainingConfig) -> Iterator[Finding]:
    """Yield the findings about end, validation and arguments that the framework sets."""
    trainer = config.trainer
    yield from findings(RULES, config)
    yield from _end(config)
    yield from _validation(config)
    if "sequential_move_factor" in trainer.model_fields_set and trainer.sequential_move_factor > trainer.devices:
        yield make_finding(
            2108,
            "trainer.sequential_move_factor",
            f"{trainer.sequential_move_factor} is more than the {trainer.devices} processes of a node.",
        )
    for key in ("fast_dev_run", "barebones"):
        if getattr(trainer, key):
            yield make_finding(2111, f"trainer.{key}", "it switches loggers and checkpoints off.")


def _end(config: TrainingConfig) -> Iterator[Finding]:
    trainer = config.trainer
    if trainer.max_steps == -1 and trainer.max_epochs == -1 and trainer.max_time is None:
        yield make_finding(
            2102, "trainer.max_steps", "-1 together with max_epochs -1 never ends, and max_time is not set."
        )
    elif trainer.max_steps == trainer.max_epochs == -1 and config.model.optim.sched.max_steps is None:
        yield make_finding(
            2112, "trainer.max_time", "it alone ends the training, and model.optim.sched.max_steps is not set."
        )
    for min_key, maximum in (("min_steps", trainer.max_steps), ("min_epochs", trainer.max_epochs)):
        if (value := getattr(trainer, min_key)) is not None and 0 < maximum < value:
            yield make_finding(
                2114, f"trainer.{min_key}", f"{value} is more than trainer.max{min_key[3:]} {maximum}, which wins."
            )
    if trainer.max_time is not None and not _is_time(trainer.max_time):
        yield make_finding(2107, "trainer.max_time", f"{trainer.max_time!r} is not a time.")


def _is_time(value: object) -> bool:
    if isinstance(value, Mapping):
        return bool(value) and _UNITS.issuperset(value) and all(number >= 0 for number in value.values())
    return isinstance(value, str) and ("${" in value or _CLOCK.fullmatch(value) is not None)


def _validation(config: TrainingConfig) -> Iterator[Finding]:
    trainer = config.trainer
    for key in _LIMITS:
        value = getattr(trainer, key)
        if isinstance(value, float) and value > 1:
            yield make_finding(2106, f"trainer.{key}", f"{value} as a part of all batches is more than all of them.")
    interval, key = trainer.val_check_interval, "trainer.val_check_interval"
    if isinstance(interval, float) and interval > 1:
        yield make_finding(2105, key, f"{interval} as a part of an epoch is more than the epoch.")
    elif isinstance(interval, float) and trainer.check_val_every_n_epoch is None:
        yield make_finding(2105, key, f"a part of an epoch ({interval}) needs check_val_every_n_epoch, which is null.")
    elif isinstance(interval, float) and trainer.limit_val_batches and _is_megatron_data(config):
        yield make_finding(2105, key, f"Megatron data needs a whole number of steps, not {interval} of an epoch.")
    yield from _intervals(config)
    if trainer.num_sanity_val_steps and not trainer.limit_val_batches:
        yield make_finding(2110, "trainer.num_sanity_val_steps", "validation is off, since limit_val_batches is 0.")


def _intervals(config: TrainingConfig) -> Iterator[Finding]:
    """Yield the findings about intervals longer than an epoch or the run, from the numbers alone; the trainer checks
    against the length of the data before any process starts."""
    trainer = config.trainer
    interval, epochs_between = trainer.val_check_interval, trainer.check_val_every_n_epoch
    if not trainer.limit_val_batches:
        return
    limit = trainer.overfit_batches or trainer.limit_train_batches
    name = "overfit_batches" if trainer.overfit_batches else "limit_train_batches"
    if isinstance(interval, int) and isinstance(limit, int) and epochs_between is not None and 0 < limit < interval:
        message = f"{interval} steps are more than the {limit} of an epoch (trainer.{name})."
        yield make_finding(2105, "trainer.val_check_interval", message, LONGER_THAN_AN_EPOCH)
    elif isinstance(interval, int) and 0 < trainer.max_steps < interval:
        message = f"{interval} steps are more than trainer.max_steps {trainer.max_steps}: no validation runs."
        yield make_finding(2113, "trainer.val_check_interval", message)
    if epochs_between is not None and 0 < trainer.max_epochs < epochs_between:
        message = f"{epochs_between} epochs are more than trainer.max_epochs {trainer.max_epochs}: no validation runs."
        yield make_finding(2113, "trainer.check_val_every_n_epoch", message)


def _is_megatron_data(config: TrainingConfig) -> bool:
    return config.model_source == "megatron" and config.model_alignment_strategy is None


def _accumulation(config: TrainingConfig) -> str:
    batches, value = Topology.from_config(config).micro_batches, config.trainer.accumulate_grad_batches
    formula = (
        f"data.global_batch_size / (data.micro_batch_size x data-parallel size){f' = {batches}' if batches else ''}"
    )
    return f"{value} cannot be set: accumulation is {formula}."


def _clipping(config: TrainingConfig) -> str:
    algorithm = config.trainer.gradient_clip_algorithm
    return f"{algorithm!r} does not exist here: gradients are clipped by their global norm."


def _nothing(_: TrainingConfig) -> str:
    return "0 trains nothing."


_STEPS, _EPOCHS, _BATCHES = "trainer.max_steps", "trainer.max_epochs", "trainer.limit_train_batches"
_ACCUMULATION, _CLIPPING = "trainer.accumulate_grad_batches", "trainer.gradient_clip_algorithm"
RULES: Final = (
    *for_keys(2101, lambda name: f"the framework sets it: {_OWNED[name]}.", IsSet, is_forbidden=True),
    ConfigRule(2103, _ACCUMULATION, IsAbove(_ACCUMULATION, 1), _accumulation),
    ConfigRule(2104, _CLIPPING, IsOther(_CLIPPING, ("norm",)), _clipping),
    ConfigRule(2109, _STEPS, Equals(_STEPS, 0), _nothing),
    ConfigRule(2109, _EPOCHS, Equals(_EPOCHS, 0), _nothing),
    ConfigRule(2109, _BATCHES, Equals(_BATCHES, 0), _nothing, "Leave it out for all batches."),
)
"""Rules that the API server checks in the same words (`cel.rule`)."""
