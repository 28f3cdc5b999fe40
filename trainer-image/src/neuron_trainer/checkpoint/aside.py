"""Checkpoints that no start can take up are moved aside, to names that no listing takes for a checkpoint.

    <name>.ckpt.cut-off    of a save that was killed: one at most is kept, until the run's next checkpoint is complete
    <name>.ckpt.damaged    complete once, and damaged since: kept until somebody removes it

An object store has no rename, so there what a killed save left is deleted, and what is damaged stays where it is.
"""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from neuron_api import contract
from neuron_trainer.storage import places

from . import layout
from .catalog import Broken

log = logging.getLogger(__name__)

CUT_OFF: Final = ".cut-off"
DAMAGED: Final = ".damaged"


def move(folder: Path, broken: Iterable[Broken]) -> None:
    """By the one who holds the run's directory, with no save under way.

    One that cannot be moved stays, and is named in the log: that is no reason not to train. One of a later release
    stays for that release.
    """
    movable = [one for one in broken if not one.is_newer]
    own = [one for one in movable if places.is_remote(one.path) or not one.path.is_symlink()]
    cut_off = sorted((one.path for one in own if not one.was_complete), key=lambda path: path.stat().st_mtime)
    for path in cut_off[:-1]:
        _attempt(_delete, path)
    for path in cut_off[-1:]:
        remove_cut_off(folder)
        _attempt(_delete if places.is_remote(path) else lambda path: _rename(path, CUT_OFF), path)
    for one in own:
        if one.was_complete and not places.is_remote(one.path):
            _attempt(lambda path: _rename(path, DAMAGED), one.path)


def remove_cut_off(folder: Path) -> list[Path]:
    """Delete what was moved aside of killed saves. What went."""
    gone = [path for path in everything(folder) if path.name.endswith(CUT_OFF)]
    for path in gone:
        _attempt(places.remove_tree, path)
    return gone


def everything(folder: Path) -> list[Path]:
    """What was moved aside, by name."""
    suffixes = tuple(contract.CHECKPOINT_SUFFIX + one for one in (CUT_OFF, DAMAGED))
    found = [path for suffix in suffixes for path in folder.glob(f"*{suffix}*")]
    return sorted({path for path in found if path.is_dir() and not path.is_symlink()})


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
