"""How the launchers of a gang meet: each knows its place and how many they are, and waits for the others.

torch's c10d rendezvous is for groups of any size: every agent writes the state of all once a second to say that it
lives, every agent reads it to see whether someone waits, and a lost one keeps its place until its heartbeats are
missed. That grows with the square of the nodes, and costs 5 s and more after each lost node (design note 031). Here a
place is a number, its newest launcher has it, and nobody says that it lives: who is lost is seen by those it trained
with.
"""

import time
from datetime import timedelta
from typing import Final

import torch.distributed as dist
from torch.distributed.elastic.rendezvous import (
    RendezvousConnectionError,
    RendezvousHandler,
    RendezvousInfo,
    RendezvousStoreInfo,
    RendezvousTimeoutError,
)

from neuron_trainer.errors import PeerLostError
from neuron_trainer.ipc.process_group import wait_for_port
from neuron_trainer.launcher.node import NodeIdentity

_STORE_TIMEOUT: Final = timedelta(seconds=15)
"""Until an unanswered request to the store is an error."""
_POLL: Final = 0.2
_POLLS_PER_SECOND: Final = 200
"""Of the store, by all nodes together: 2 nodes poll every 50 ms, 200 and more each second."""
_OPEN: Final = "open"
"""The round that nodes join; node 0 closes it when all have."""


class GangRendezvous(RendezvousHandler):
    """One launcher's place in a gang; every request is of constant size, node 0's when it closes a round excepted."""

    def __init__(self, store: dist.Store, node: NodeIdentity) -> None:  # type: ignore[name-defined]
        self._run_id = node.job_uid or "local"
        # Launchers of another attempt, whose gang may have another size, are not this one's.
        self._store, self._node = dist.PrefixStore(f"rendezvous/{self._run_id}/{node.attempt}", store), node  # type: ignore[attr-defined]
        self._interval = poll_interval(node.num_nodes)
        self._launch = self._store.add(self._launches, 1)
        self._round, self._waiting, self._polled = -1, 0, 0.0

    @property
    def _launches(self) -> str:
        """The key of how many launchers this place has had; the newest has it."""
        return f"launches/{self._node.rank}"

    def get_backend(self) -> str:
        return "gang"

    @property
    def use_agent_store(self) -> bool:
        """The processes of each round have a store of their own: in the agents' store they would look for each other
        under different keys after a restart, and never meet."""
        return False

    def next_rendezvous(self) -> RendezvousInfo:
        """Join the open round and wait until all have; raises `RendezvousTimeoutError`, and `PeerLostError` where
        another launcher has this place now."""
        deadline = time.monotonic() + self._node.rejoin_timeout
        self._round, self._waiting = self._join(deadline), 0
        store = dist.PrefixStore(f"{self._round}/agents", self._store)  # type: ignore[attr-defined]
        info = RendezvousStoreInfo.build(self._node.rank, store, local_addr=self._node.address)
        return RendezvousInfo(store, self._node.rank, self._node.num_nodes, info)

    def _join(self, deadline: float) -> int:
        while True:
            self._check_place(self._store.add(self._launches, 0))
            number = self._store.add(_OPEN, 0)
            self._store.set(self._seat(number, self._node.rank), str(self._launch))
            self._store.add(f"{number}/joined", 1)
            if self._node.is_host:
                self._close(number, deadline)
            self._wait([key := f"{number}/taken/{self._node.rank}"], deadline)
            taken = int(self._store.get(key))
            self._check_place(taken)
            if taken == self._launch:
                return number
            # A launcher that had this place before was counted, and has ended since; the others see that one waits.

    def _close(self, number: int, deadline: float) -> None:
        """Wait for all nodes, open the next round, and tell each who has its place."""
        ranks = range(self._node.num_nodes)
        seats = [self._seat(number, rank) for rank in ranks]
        self._wait(seats, deadline)
        self._store.add(_OPEN, 1)
        launches = [launch.decode() for launch in self._store.multi_get(seats)]
        self._store.multi_set([f"{number}/taken/{rank}" for rank in ranks], launches)  # type: ignore[attr-defined]

    @staticmethod
    def _seat(number: int, rank: int) -> str:
        return f"{number}/seat/{rank}"

    def _check_place(self, newest: int) -> None:
        if newest > self._launch:
            raise PeerLostError(f"another launcher was started as node {self._node.rank}, and has taken its place")

    def _wait(self, keys: list[str], deadline: float) -> None:
        """Wait for keys; in slices, since a signal is handled between two of them."""
        while True:
            remaining = deadline - time.monotonic()
            try:
                return self._store.wait(keys, timedelta(seconds=max(0.001, min(remaining, max(_POLL, self._interval)))))
            except dist.DistStoreError:
                if time.monotonic() > deadline:
                    message = f"the {self._node.num_nodes} nodes did not meet within {self._node.rejoin_timeout} s"
                    raise RendezvousTimeoutError(message) from None

    def num_nodes_waiting(self) -> int:
        """Return how many have joined the round after this one: it is time to restart."""
        now = time.monotonic()
        if now - self._polled >= self._interval:
            self._polled, self._waiting = now, self._store.add(f"{self._round + 1}/joined", 0)
        return self._waiting

    def is_closed(self) -> bool:
        """Return False: the operator decides when a gang is over."""
        return False

    def set_closed(self) -> None:
        """Do nothing, as above."""

    def get_run_id(self) -> str:
        return self._run_id

    def shutdown(self) -> bool:
        """Return True: there is nothing to end."""
        return True


def handler(node: NodeIdentity) -> RendezvousHandler:
    """Join the store, which node 0 creates; raises a torch error when it cannot be reached."""
    try:
        store = dist.TCPStore(  # type: ignore[attr-defined]
            node.host,
            node.port,
            is_master=node.is_host,
            multi_tenant=True,
            wait_for_workers=False,
            timeout=_STORE_TIMEOUT,
        )
    except (ValueError, RuntimeError, TimeoutError) as problem:
        raise RendezvousConnectionError(f"node 0's store at {node.host}:{node.port}: {problem}") from problem
    return GangRendezvous(store, node)


def poll_interval(num_nodes: int) -> float:
    """Return the seconds between two polls of a node."""
    return min(1.0, max(0.05, num_nodes / _POLLS_PER_SECOND))


def wait_for_store(node: NodeIdentity, deadline: float) -> None:
    """Wait until node 0's name resolves and its port answers; raises `PeerLostError` at the deadline (monotonic)."""
    if node.is_host:
        return
    if problem := wait_for_port(node.host, node.port, deadline - time.monotonic(), _POLL):
        raise PeerLostError(f"node 0 is not reachable at {node.host}:{node.port}: {problem}")
