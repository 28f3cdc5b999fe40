"""Which documents are for training, validation and test (`data.splits_string`), and how many samples each part needs
(B-16)."""

import re
from typing import Final

from neuron_api.config import TrainingConfig

PARTS: Final = ("train", "validation", "test")


def parse(text: str) -> tuple[float, float, float]:
    """Return proportions that add up to 1 from `980,10,10`, `980/10/10` or `980`."""
    numbers = [float(number) for number in re.split(r"[,/]", text)]
    total = sum(numbers)
    first, second, third = [number / total for number in numbers] + [0.0] * (len(PARTS) - len(numbers))
    return first, second, third


def bounds(text: str, documents: int) -> dict[str, range]:
    """Return the documents of each part; cumulative proportions are rounded (half to even), so that parts meet and end
    at the end."""
    ranges, done = {}, 0.0
    for part, share in zip(PARTS, parse(text), strict=True):
        ranges[part] = range(round(done * documents), round((done + share) * documents))
        done += share
    return ranges


def samples_needed(config: TrainingConfig, part: str) -> int | None:
    """Return the samples of the whole training; None where it has no number of steps: then the documents are read once.

    The training part needs `max_steps` batches; validation needs one more round than there are intervals.
    """
    trainer, batch = config.trainer, config.data.global_batch_size
    if part == "train":
        return trainer.max_steps * batch if trainer.max_steps > 0 else None
    if part == "test":
        return _count(trainer.limit_test_batches, batch)
    per_validation = _count(trainer.limit_val_batches, batch)
    if per_validation is None:
        return None
    return ((validation_count(config, trainer.max_steps) or 0) + 1) * per_validation


def validation_count(config: TrainingConfig, steps: int) -> int | None:
    """Return how often a run has validated after `steps`; None when that depends on the length of an epoch."""
    interval = config.trainer.val_check_interval
    if steps < 0 or not isinstance(interval, int):
        return None
    return steps // interval


def _count(batches: int | float | None, batch: int) -> int | None:
    return batches * batch if isinstance(batches, int) else None
