"""Which checkpoints stay: the best `save_top_k` by monitor and mode; the new one is complete before an old one goes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from neuron_api.config import CheckpointCallbackParams

from . import layout
from .catalog import Candidate, complete, incomplete

VALIDATION: Final = "val_loss"
MONITORS: Final = ("step", "epoch", "global_step", "consumed_samples", "reduced_train_loss", VALIDATION)
"""What checkpoints may be ranked by; one that has no validation before it ranks last."""


def surplus(candidates: Sequence[Candidate], newest: Path, params: CheckpointCallbackParams) -> list[Candidate]:
    """What to delete now that `newest` is complete; without a monitor the newest ones are the best. Pure."""
    if params.save_top_k < 0:
        return []
    key = params.monitor or "step"
    best = max if params.mode == "max" or params.monitor is None else min
    worst = float("-inf") if best is max else float("inf")
    ranked = sorted(
        (c for c in candidates if not layout.is_last(c.path)),
        key=lambda c: (c.manifest.metrics.get(key, worst) * (1 if best is max else -1), c.step),
        reverse=True,
    )
    return [c for c in ranked[params.save_top_k :] if c.path != newest or params.save_top_k == 0]


def apply(folder: Path, newest: Path, params: CheckpointCallbackParams) -> list[Path]:
    """Delete the surplus and what killed saves left; by global rank 0 only, with no save under way. What went."""
    gone = [candidate.path for candidate in surplus(complete(folder), newest, params)]
    for path in gone:
        layout.remove(path)
    return gone + remove_incomplete(folder)


def remove_incomplete(folder: Path) -> list[Path]:
    """Delete what killed saves left; by global rank 0 only, with no save under way. What went."""
    gone = incomplete(folder)
    for path in gone:
        layout.remove(path)
    return gone
