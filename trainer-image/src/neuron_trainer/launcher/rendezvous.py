"""torch's c10d rendezvous on node 0, with the waits that it does not have."""

import time
from typing import Any, Final

from torch.distributed.elastic.rendezvous import (
    RendezvousHandler,
    RendezvousParameters,
    dynamic_rendezvous,
    utils,
)
from torch.distributed.elastic.rendezvous import registry as rendezvous_registry

from neuron_trainer.errors import PeerLostError
from neuron_trainer.ipc.store_readiness import wait_for_port

from .node import Node

HEARTBEAT: Final = 1
"""Seconds between heartbeats of a node, and …"""
MISSED: Final = 5
"""… how many may be missed: a lost node leaves the rendezvous after 5 s (torch's default is 15 s). A node that is
only slow loses nothing by it: it is asked for again at the next round."""
_STORE_TIMEOUT: Final = 15
"""Seconds until an unanswered request to the store is an error (torch: 60)."""
_POLL: Final = 0.2
_LEFT: Final[list[RendezvousHandler]] = []
_LOOKS_PER_SECOND: Final = 200
"""At the store, of all nodes that wait in a rendezvous together: 2 nodes look every 50 ms, from 200 on each second."""


def handler(node: Node) -> RendezvousHandler:
    """Join the store; node 0 makes it. Raises a torch error when the store cannot be reached."""
    parameters = RendezvousParameters(
        backend="c10d",
        endpoint=f"{node.host}:{node.port}",
        run_id=node.job_uid or "local",
        min_nodes=node.num_nodes,
        max_nodes=node.num_nodes,
        local_addr=node.address,
        is_host=node.is_host,
        join_timeout=node.rejoin_timeout,
        read_timeout=_STORE_TIMEOUT,
        keep_alive_interval=HEARTBEAT,
        keep_alive_max_attempt=MISSED,
    )
    made = rendezvous_registry.get_rendezvous_handler(parameters)
    _look_oftener(made, look_interval(node.num_nodes))
    return made


def leave(handler: RendezvousHandler) -> None:
    """Its heartbeats end; it stays in memory until the process ends.

    torch's thread holds the handler during a heartbeat. Is that the last reference, then the thread destroys the
    handler, which waits for the thread: `RuntimeError: cannot join current thread`, with a traceback after a good run.
    """
    _LEFT.append(handler)
    if (timer := getattr(handler, "_keep_alive_timer", None)) is not None:
        timer._ctx.stop_event.set()


def look_interval(num_nodes: int) -> float:
    """Seconds between two looks of a node that waits for the others."""
    return min(1.0, max(0.05, num_nodes / _LOOKS_PER_SECOND))


def _look_oftener(handler: RendezvousHandler, most: float) -> None:
    """torch looks at the state once a second, twice over (it waits, and what it has seen counts for a second), and
    spreads a first round over 0.3 s: half of what a restart in place takes, and there is no setting for it.

    The names are those of torch 2.14.1; a torch without them keeps its own intervals.
    """

    def delay(seconds: float | tuple[float, float]) -> None:
        utils._delay((seconds[0], min(seconds[1], most)) if isinstance(seconds, tuple) else min(seconds, most))

    if hasattr(dynamic_rendezvous, "_delay"):
        dynamic_rendezvous._delay = delay
    seen: Any = getattr(handler, "_state_holder", None)
    if hasattr(seen, "_cache_duration"):
        seen._cache_duration = most


def wait_for_store(node: Node, deadline: float) -> None:
    """Until node 0's name resolves and its port answers; raises `PeerLostError` at the deadline (monotonic)."""
    if node.is_host:
        return
    if problem := wait_for_port(node.host, node.port, deadline - time.monotonic(), _POLL):
        raise PeerLostError(f"node 0 is not reachable at {node.host}:{node.port}: {problem}")
