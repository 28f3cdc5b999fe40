"""How many batches an epoch has, and what Lightning makes of the limits and intervals that are set: a part of the
batches that is less than one, or an interval that no epoch reaches, would end every process with a traceback."""

from collections.abc import Iterator, Mapping
from typing import Final

from neuron_api.checks.trainer import LONGER_THAN_AN_EPOCH
from neuron_api.config import TrainingConfig
from neuron_api.findings.finding import Finding, error
from neuron_api.findings.registry import make_finding

from . import source
from .loader import batches
from .samples import FOLDER, Part

_LIMITS: Final[Mapping[Part, str]] = {
    "train": "limit_train_batches",
    "validation": "limit_val_batches",
    "test": "limit_test_batches",
}


def check(config: TrainingConfig, parts: list[Part]) -> list[Finding]:
    """The data is opened only where a limit or an interval depends on its length; raises `InputError`."""
    read = [part for part in parts if _depends_on_length(config, part)]
    lengths = {part: len(source.samples(config, part, is_builder=True)) for part in read}
    return list(check_lengths(config, lengths))


def check_lengths(config: TrainingConfig, samples: Mapping[Part, int]) -> Iterator[Finding]:
    """Yield what is wrong with so many samples of each part."""
    for part, count in samples.items():
        yield from _limit(config, part, count)
    if "train" in samples:
        epoch = _batches(config, "train", samples["train"])
        yield from _validation(config, epoch)
        yield from _saves(config, epoch)


def _depends_on_length(config: TrainingConfig, part: Part) -> bool:
    trainer, params = config.trainer, config.exp_manager.checkpoint_callback_params
    if isinstance(getattr(trainer, _LIMITS[part]), float) or isinstance(trainer.overfit_batches, float):
        return True
    if part != "train":
        return False
    validates = bool(trainer.limit_val_batches) and trainer.check_val_every_n_epoch is not None
    saves_by_steps = trainer.max_epochs > 0 and params.every_n_train_steps > 0
    return (validates and isinstance(trainer.val_check_interval, int)) or saves_by_steps


def _batches(config: TrainingConfig, part: Part, samples: int, *, limited: bool = True) -> int:
    """Global batches of an epoch."""
    limit = source.limit(config, part) if limited else None
    return batches(samples, config.data.global_batch_size, keeps_rest=source.keeps_rest(config, part), limit=limit)


def _limit(config: TrainingConfig, part: Part, samples: int) -> Iterator[Finding]:
    trainer = config.trainer
    for name in ("overfit_batches", _LIMITS[part]):
        value = getattr(trainer, name)
        if name == "limit_train_batches" and trainer.overfit_batches:
            continue  # which stands in its place
        is_lightnings = part != "train" and name != "overfit_batches"  # it counts what overfit_batches has left
        whole = _batches(config, part, samples, limited=is_lightnings)
        if isinstance(value, float) and value > 0 and int(value * whole) < 1 <= whole:
            message = f"{value:g} of the {whole} batches of {FOLDER[part].removesuffix('_dir')} is less than one."
            yield error(f"trainer.{name}", message, f"Use {_least(whole):g} or more, or a whole number of batches.")


def _least(count: int) -> float:
    """The least share, in four digits, that is one batch."""
    digits = 4
    while True:
        share = round(1 / count + 0.5 / 10.0**digits, digits)
        if int(share * count) >= 1:
            return share
        digits += 1


def _validation(config: TrainingConfig, epoch: int) -> Iterator[Finding]:
    trainer = config.trainer
    interval, every = trainer.val_check_interval, trainer.check_val_every_n_epoch
    if trainer.limit_val_batches and every is not None and isinstance(interval, int) and interval > epoch:
        message = f"{interval} steps are more than the {epoch} of an epoch."
        yield error("trainer.val_check_interval", message, LONGER_THAN_AN_EPOCH)


def _saves(config: TrainingConfig, epoch: int) -> Iterator[Finding]:
    """A run that its epochs end before its first checkpoint."""
    trainer, params = config.trainer, config.exp_manager.checkpoint_callback_params
    steps, every = trainer.max_epochs * epoch, params.every_n_train_steps
    ends_by_epochs = trainer.max_epochs > 0 and (trainer.max_steps <= 0 or steps < trainer.max_steps)
    if config.exp_manager.writes_checkpoints and ends_by_epochs and 0 < steps <= every:
        key = "exp_manager.checkpoint_callback_params.every_n_train_steps"
        run = f"a run of {steps} ({trainer.max_epochs} epochs)"
        yield make_finding(2220, key, f"every {every} steps of {run}: the only checkpoint is the one at the end.")
