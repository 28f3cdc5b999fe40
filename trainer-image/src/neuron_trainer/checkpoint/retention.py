"""Which checkpoints stay: the best `save_top_k` by monitor and mode; the new one is complete before an old one goes."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from neuron_api import contract
from neuron_api.config import CheckpointCallbackParams
from neuron_trainer.storage import places

from . import aside, layout
from .catalog import Candidate, complete, incomplete

_NUMBER: Final = re.compile(rf"-v\d+(?={re.escape(contract.CHECKPOINT_SUFFIX)}$)")
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


def apply(folder: Path, newest: Path, params: CheckpointCallbackParams, run_id: str = "") -> list[Path]:
    """Delete the surplus, and what was kept of killed saves; by global rank 0 only, with no save under way. What went.

    Checkpoints of another run than `run_id` are left alone, and so is a link to one elsewhere.
    """
    there = [candidate for candidate in complete(folder) if not _is_link(candidate.path)]
    own = [candidate for candidate in there if candidate.manifest.run_id == run_id]
    gone = [candidate.path for candidate in surplus(own, newest, params)]
    for path in gone:
        layout.remove(path)
    return gone + remove_incomplete(folder) + aside.remove_cut_off(folder)


def remove_replaced(newest: Path, run_id: str) -> None:
    """Delete the run's own checkpoints of the same name, but for the number that tells them apart."""
    name = _NUMBER.sub("", newest.name)
    for candidate in complete(newest.parent):
        is_same = candidate.path != newest and _NUMBER.sub("", candidate.path.name) == name
        if is_same and candidate.manifest.run_id == run_id and not _is_link(candidate.path):
            layout.remove(candidate.path)


def remove_incomplete(folder: Path) -> list[Path]:
    """Delete what killed saves left; by global rank 0 only, with no save under way. What went."""
    gone = [path for path in incomplete(folder) if not _is_link(path)]
    for path in gone:
        layout.remove(path)
    return gone


def _is_link(path: Path) -> bool:
    return not places.is_remote(path) and path.is_symlink()
