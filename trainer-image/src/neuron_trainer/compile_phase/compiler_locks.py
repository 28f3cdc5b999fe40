"""Locks that a compiler has left in the cache: those of libneuronxla are files that a killed process does not remove.

The next process that wants such a graph waits for ever ("Another process must be compiling"); by hand they are cleared
with `neuron_parallel_compile --command clear-locks` (docs/reference/upstream-facts.md#compiler-words).
"""

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from neuron_trainer.storage import lease

from .record import FOLDER

log = logging.getLogger(__name__)

_PATTERN: Final = "**/MODULE_*/*.lock"


def remove(cache: Path, own: Path) -> list[Path]:
    """Remove the locks in a cache, and return them; for the holder of `own`, a fingerprint's folder, alone.

    None while another fingerprint's phase compiles into the same cache: they may be its locks. Times are compared with
    that of a new file, which the same file server gives.
    """
    try:
        locks = list(cache.glob(_PATTERN))
        if not locks:
            return []
        with tempfile.NamedTemporaryFile(dir=own) as probe:
            now = Path(probe.name).stat().st_mtime
        if busy := next(_busy(cache / FOLDER, own, now), None):
            log.warning("%d locks of the compiler in %s are left alone, since %s compiles", len(locks), cache, busy)
            return []
        for lock in locks:
            lock.unlink(missing_ok=True)
    except OSError as problem:
        log.warning("%s: locks of the compiler cannot be removed: %s", cache, problem.strerror or problem)
        return []
    log.info("%d locks of a compiler that has ended removed from %s", len(locks), cache)
    return locks


def _busy(fingerprints: Path, own: Path, now: float) -> Iterator[lease.Holder]:
    """Yield the other phases that compile now."""
    for folder in fingerprints.iterdir():
        if folder == own or not folder.is_dir():
            continue
        current = lease.newest(folder)
        holder = current.holder if current is not None else None
        if holder is None or holder.state is lease.HolderState.RELEASED:
            continue
        if now - max(file.stat().st_mtime for file in folder.glob(".lock.*")) < lease.LEASE_SECONDS:
            yield holder
