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
from neuron_trainer.ipc.process_group import wait_for_port
from neuron_trainer.launcher.node import NodeIdentity

HEARTBEAT: Final = 1
"""Seconds between heartbeats of a node."""
MAX_MISSED: Final = 5
"""Heartbeats that may be missed: a lost node leaves the rendezvous after 5 s (torch's default is 15 s). A node that is
only slow loses nothing by it: it takes part in the next round."""
_STORE_TIMEOUT: Final = 15
"""Seconds until an unanswered request to the store is an error (torch: 60)."""
_POLL: Final = 0.2
_ABANDONED: Final[list[RendezvousHandler]] = []
"""Handlers that stay in memory until the process ends; see `leave`."""
_POLLS_PER_SECOND: Final = 200
"""Of the store, by all nodes that wait in a rendezvous together: 2 nodes poll every 50 ms, 200 and more each second."""


def handler(node: NodeIdentity) -> RendezvousHandler:
    """Join the store, which node 0 creates; raises a torch error when it cannot be reached."""
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
        keep_alive_max_attempt=MAX_MISSED,
    )
    joined = rendezvous_registry.get_rendezvous_handler(parameters)
    _poll_faster(joined, poll_interval(node.num_nodes))
    return joined


def leave(handler: RendezvousHandler) -> None:
    """End the heartbeats of a handler; it stays in memory until the process ends.

    torch's thread holds the handler during a heartbeat. If that is the last reference, the thread destroys the handler,
    which waits for the thread: `RuntimeError: cannot join current thread`, with a traceback after a good run.
    """
    _ABANDONED.append(handler)
    if (timer := getattr(handler, "_keep_alive_timer", None)) is not None:
        timer._ctx.stop_event.set()


def poll_interval(num_nodes: int) -> float:
    """Return the seconds between two polls of a node that waits for the others."""
    return min(1.0, max(0.05, num_nodes / _POLLS_PER_SECOND))


def _poll_faster(handler: RendezvousHandler, max_interval: float) -> None:
    """Shorten the waits of torch's rendezvous to `max_interval` seconds.

    torch polls the state once a second, twice over (it waits, and a state that it has read counts for a second), and
    spreads a first round over 0.3 s: half of what a restart in place takes, and there is no setting for it.

    The names are those of torch 2.14.1; a torch without them keeps its own intervals.
    """

    def delay(seconds: float | tuple[float, float]) -> None:
        if isinstance(seconds, tuple):
            utils._delay((seconds[0], min(seconds[1], max_interval)))
        else:
            utils._delay(min(seconds, max_interval))

    if hasattr(dynamic_rendezvous, "_delay"):
        dynamic_rendezvous._delay = delay
    state: Any = getattr(handler, "_state_holder", None)
    if hasattr(state, "_cache_duration"):
        state._cache_duration = max_interval


def wait_for_store(node: NodeIdentity, deadline: float) -> None:
    """Wait until node 0's name resolves and its port answers; raises `PeerLostError` at the deadline (monotonic)."""
    if node.is_host:
        return
    if problem := wait_for_port(node.host, node.port, deadline - time.monotonic(), _POLL):
        raise PeerLostError(f"node 0 is not reachable at {node.host}:{node.port}: {problem}")
