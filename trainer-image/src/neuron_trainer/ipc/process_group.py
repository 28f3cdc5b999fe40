"""The process group of a round: waiting for its store, joining it, and recognising that a peer is lost."""

import os
import socket
import time
from datetime import timedelta
from typing import Final

import torch.distributed as dist

from neuron_trainer import accelerators
from neuron_trainer.errors import PeerLostError
from neuron_trainer.parallel import BackendProvider

_PAUSE: Final = 0.02
_CONNECT_TIMEOUT: Final = 1.0
"""Seconds until a host that does not answer at all is tried again: its name may stand for another by then."""


def wait_for_port(host: str, port: int, seconds: float, pause: float = _PAUSE) -> OSError | None:
    """Wait until torch's store listens, at most `seconds`; return None, or the last error.

    A client of the store that comes too early waits before it tries again, and has no setting for how long: the
    rendezvous of a restart in place took 1.1 to 2.1 s, with this wait 1.1 to 1.2 (`make bench-recovery`).
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            with socket.create_connection((host, port), timeout=_CONNECT_TIMEOUT):
                return None
        except OSError as problem:
            if time.monotonic() > deadline:
                return problem
        time.sleep(pause)


def join(backend: BackendProvider, accelerator: str, seconds: int) -> None:
    """Join the process group that the agent describes in the environment; collectives time out after `seconds`."""
    if os.environ["RANK"] != "0":
        wait_for_port(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), seconds)
    backend.init_process_group(accelerator, timedelta(seconds=seconds))


def is_peer_loss(problem: BaseException, accelerator: str) -> bool:
    """Return whether a collective failed because another process is gone, and not because of this one."""
    if isinstance(problem, dist.DistError | PeerLostError):
        return True
    signs = accelerators.get(accelerator).peer_loss
    return isinstance(problem, RuntimeError) and any(sign in str(problem) for sign in signs)
