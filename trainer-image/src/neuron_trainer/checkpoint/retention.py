"""Which checkpoints stay: the best `save_top_k` by monitor and mode; the new one is complete before an old one goes.

Checkpoints that no start can resume from are moved aside, to names that no listing takes for a checkpoint:

    <name>.ckpt.cut-off    of a save that was killed: one at most stays, until the run's next checkpoint is complete
    <name>.ckpt.damaged    complete once, and damaged since: stays until somebody removes it

An object store has no rename, so there what a killed save left is deleted, and what is damaged stays where it is.
"""

import logging
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from neuron_api import contract
from neuron_api.config import CheckpointCallbackParams
from neuron_trainer.storage import places

from . import layout
from .catalog import BrokenCheckpoint, Candidate, complete, incomplete

log = logging.getLogger(__name__)

_NUMBER: Final = re.compile(rf"-v\d+(?={re.escape(contract.CHECKPOINT_SUFFIX)}$)")
VALIDATION: Final = "val_loss"
MONITORS: Final = ("step", "epoch", "global_step", "consumed_samples", "reduced_train_loss", VALIDATION)
"""What checkpoints may be ranked by; one that has no validation before it ranks last."""
CUT_OFF: Final = ".cut-off"
DAMAGED: Final = ".damaged"


def surplus(candidates: Sequence[Candidate], newest: Path, params: CheckpointCallbackParams) -> list[Candidate]:
    """Return what to delete now that `newest` is complete; without a monitor the newest ones are the best. Pure."""
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
    """Delete the surplus and what killed saves left, and return it; by global rank 0 only, with no save under way.

    Checkpoints of another run than `run_id` stay, and so does a link to one elsewhere.
    """
    complete_ones = [candidate for candidate in complete(folder) if not _is_link(candidate.path)]
    own = [candidate for candidate in complete_ones if candidate.manifest.run_id == run_id]
    removed = [candidate.path for candidate in surplus(own, newest, params)]
    for path in removed:
        layout.remove(path)
    return removed + remove_incomplete(folder) + remove_cut_off(folder)


def remove_replaced(newest: Path, run_id: str) -> None:
    """Delete the run's own checkpoints of the same name, but for the number that tells them apart."""
    name = _NUMBER.sub("", newest.name)
    for candidate in complete(newest.parent):
        is_same = candidate.path != newest and _NUMBER.sub("", candidate.path.name) == name
        if is_same and candidate.manifest.run_id == run_id and not _is_link(candidate.path):
            layout.remove(candidate.path)


def remove_incomplete(folder: Path) -> list[Path]:
    """Delete what killed saves left, and return it; by global rank 0 only, with no save under way."""
    removed = [path for path in incomplete(folder) if not _is_link(path)]
    for path in removed:
        layout.remove(path)
    return removed


def move_aside(folder: Path, broken: Iterable[BrokenCheckpoint]) -> None:
    """Move aside what no start can resume from; by the holder of the run's directory, with no save under way.

    One that cannot be moved stays and is named in the log: that is no reason not to train. One of a later release stays
    for that release.
    """
    movable = [item for item in broken if not item.is_newer]
    own = [item for item in movable if places.is_remote(item.path) or not item.path.is_symlink()]
    cut_off = sorted((item.path for item in own if not item.was_complete), key=_modified)
    for path in cut_off[:-1]:
        _attempt(_delete, path)
    for path in cut_off[-1:]:
        remove_cut_off(folder)
        _attempt(_delete if places.is_remote(path) else lambda path: _rename(path, CUT_OFF), path)
    for item in own:
        if item.was_complete and not places.is_remote(item.path):
            _attempt(lambda path: _rename(path, DAMAGED), item.path)


def remove_cut_off(folder: Path) -> list[Path]:
    """Delete what was moved aside of killed saves, and return it."""
    removed = [path for path in moved_aside(folder) if path.name.endswith(CUT_OFF)]
    for path in removed:
        _attempt(places.remove_tree, path)
    return removed


def moved_aside(folder: Path) -> list[Path]:
    """Return what was moved aside, by name."""
    suffixes = tuple(contract.CHECKPOINT_SUFFIX + suffix for suffix in (CUT_OFF, DAMAGED))
    paths = [path for suffix in suffixes for path in folder.glob(f"*{suffix}*")]
    return sorted({path for path in paths if path.is_dir() and not path.is_symlink()})


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # somebody else has deleted it
        return 0.0


def _is_link(path: Path) -> bool:
    return not places.is_remote(path) and path.is_symlink()


def _rename(path: Path, suffix: str) -> None:
    target, number = path.with_name(path.name + suffix), 1
    while target.exists():
        number += 1
        target = path.with_name(f"{path.name}{suffix}-{number}")
    path.rename(target)
    places.sync(path.parent)
    log.warning("moved aside: %s is now %s", path, target.name)


def _delete(path: Path) -> None:
    layout.remove(path)
    log.warning("removed what a killed save had left: %s", path)


def _attempt(action: Callable[[Path], object], path: Path) -> None:
    try:
        action(path)
    except OSError as problem:
        log.error("%s could not be moved aside: %s", path, problem.strerror or problem)
