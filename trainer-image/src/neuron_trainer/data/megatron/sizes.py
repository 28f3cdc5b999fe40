"""How many samples each part is asked for (B-16)."""

from neuron_api.config import TrainingConfig


def needed(config: TrainingConfig, part: str) -> int | None:
    """Samples of the whole training; None where it has no number of steps: one pass over the documents then."""
    trainer, batch = config.trainer, config.data.global_batch_size
    if part == "train":
        return trainer.max_steps * batch if trainer.max_steps > 0 else None
    if part == "test":
        return _count(trainer.limit_test_batches, batch)
    of_one = _count(trainer.limit_val_batches, batch)
    return None if of_one is None else ((validations(config, trainer.max_steps) or 0) + 1) * of_one


def validations(config: TrainingConfig, steps: int) -> int | None:
    """How often there was a validation after so many steps; None when that depends on the length of an epoch."""
    interval = config.trainer.val_check_interval
    if steps < 0 or not isinstance(interval, int):
        return None
    return steps // interval


def _count(batches: int | float | None, batch: int) -> int | None:
    return batches * batch if isinstance(batches, int) else None
