"""Where log lines go: rank 0's to the console, everyone's to a file in the log directory (B-11)."""

import logging
import os
import socket
import sys
from pathlib import Path
from typing import Any, Final

from neuron_api import redaction
from neuron_api.config import ExpManagerConfig

log = logging.getLogger(__name__)

_FORMAT: Final = "%(asctime)s %(levelname).1s {who}%(message)s"
_QUIET: Final = (
    "lightning",
    "lightning.pytorch",
    "lightning.fabric",
    "torch.distributed",
    "torch.distributed.checkpoint",
    "torch.distributed.run",
    "datasets",
    "fsspec",
)
"""Libraries whose INFO lines tell a user nothing."""
_SILENT: Final = ("torch.distributed.elastic", "torch.multiprocessing")
"""What they say of a failed process the launcher says in one line; and torch's formatter imports torch._dynamo for its
first line, which took 12 s of a recovery on two busy cores."""


class _Formatter(logging.Formatter):
    """Whatever a library says of an address, its user and password are in no line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and the stack below it."""
        return redaction.addresses(super().format(record))


class _Stderr(logging.StreamHandler[Any]):
    """To `sys.stderr` of the moment: a live line on the terminal replaces it while it is drawn."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> Any:
        """Asked for each line."""
        return sys.stderr


class _File(logging.FileHandler):
    """A volume that is full costs lines of the log, not the console the stack of each."""

    has_failed = False

    def handleError(self, _: logging.LogRecord) -> None:  # noqa: N802
        """Said once, to the other handlers."""
        if not self.has_failed:
            self.has_failed = True
            log.warning("%s: lines are missing there: %s", self.baseFilename, sys.exception())


def stack(problem: BaseException) -> None:
    """The stack of an error, to the log file alone."""
    record = logging.LogRecord(
        __name__, logging.ERROR, __file__, 0, "stack:", None, (type(problem), problem, problem.__traceback__)
    )
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)


def console(who: str = "", level: int = logging.INFO) -> None:
    """One handler on stderr; called again, it replaces itself."""
    handler = _Stderr()
    handler.setFormatter(_Formatter(_FORMAT.format(who=who), datefmt="%H:%M:%S"))
    handler.setLevel(level)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in _SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def configure(manager: ExpManagerConfig, folder: Path, rank: int, local_rank: int) -> None:
    """Set up the log of a worker: rank 0 writes everything to the console, other ranks errors alone."""
    console(who=f"[{rank}] ", level=logging.INFO if rank == 0 else logging.ERROR)
    if (local_rank and manager.log_local_rank_0_only) or (rank and manager.log_global_rank_0_only):
        return
    file = _File(folder / f"nemo_log_globalrank-{rank}_localrank-{local_rank}.txt")
    file.setFormatter(_Formatter(_FORMAT.format(who="")))
    logging.getLogger().addHandler(file)
    begin = f"rank {rank}, local rank {local_rank}: process {os.getpid()} on {socket.gethostname()}"
    file.handle(logging.LogRecord(__name__, logging.INFO, __file__, 0, begin, None, None))
