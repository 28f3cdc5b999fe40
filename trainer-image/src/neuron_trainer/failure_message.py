"""What a worker says of a failure that is none of the trainer's: one sentence with a remedy, for people without torch's
stack."""

import errno
import os
from collections.abc import Mapping
from typing import Final

from .errors import PeerLostError, TrainerError

_SPACE: Final = (
    "Free space there, keep fewer checkpoints (exp_manager.checkpoint_callback_params.save_top_k) or write them "
    "elsewhere (exp_manager.checkpoint_callback_params.dirpath); then start again."
)
_RIGHTS: Final = "Let the user of this process read and write it, then start again."
_STORAGE: Final = "Check the volume and its mount, then start again."
_REMEDIES: Final[Mapping[int, str]] = {
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EFBIG: _SPACE,
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: "Mount the volume writable, or write elsewhere; then start again.",
    errno.ENOENT: "Restore it, then start again.",
    errno.EIO: _STORAGE,
    errno.ESTALE: _STORAGE,
    errno.ENOTCONN: _STORAGE,
    errno.EMFILE: "Allow more open files (ulimit -n), then start again.",
}


def sentence(problem: Exception, *, is_own_module: bool) -> str | None:
    """One line; None for what needs its stack: a bug of ours, or an error in a module of the user's (`is_own_module`:
    there is one, and an error of the system may come from it)."""
    if isinstance(problem, PeerLostError):
        return None
    is_system = isinstance(problem, OSError) and problem.errno is not None and not is_own_module
    if not (isinstance(problem, TrainerError) or is_system):
        return None
    text = " ".join(str(problem).splitlines()).strip() or type(problem).__name__
    remedy = next((remedy for number, remedy in _REMEDIES.items() if os.strerror(number) in text), "")
    return f"{text.rstrip('.')}. {remedy}" if remedy else text
