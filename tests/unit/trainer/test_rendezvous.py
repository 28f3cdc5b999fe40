"""The rendezvous of a gang over a store in memory: who is lost is replaced without a wait."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch.distributed as dist
from torch.distributed.elastic.rendezvous import RendezvousConnectionError, RendezvousInfo, RendezvousTimeoutError

from bounds import BOUND
from controlplane.freeport import free_ports
from neuron_trainer.errors import PeerLostError
from neuron_trainer.launcher.elastic import rendezvous
from neuron_trainer.launcher.elastic.rendezvous import GangRendezvous
from neuron_trainer.launcher.node import NodeIdentity

NODE = NodeIdentity(
    rank=0, num_nodes=3, processes=1, host="127.0.0.1", port=0, is_in_pod=False, progress_port=0,
    max_process_restarts=0, rejoin_timeout=int(BOUND), accelerator="cpu", job_uid="u", attempt=0,
)  # fmt: skip


class Gang:
    """Three places around a store; a launcher is a handler and the thread that it waits in."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.store, self._pool = dist.HashStore(), pool

    def launcher(self, rank: int, seconds: float = BOUND) -> GangRendezvous:
        return GangRendezvous(self.store, replace(NODE, rank=rank, rejoin_timeout=seconds))  # type: ignore[arg-type]

    def join(self, *launchers: GangRendezvous) -> list[Future[RendezvousInfo]]:
        return [self._pool.submit(launcher.next_rendezvous) for launcher in launchers]

    def meet(self, *launchers: GangRendezvous) -> list[int]:
        return [joined.result(BOUND).rank for joined in self.join(*launchers)]


@pytest.fixture
def gang(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gang]:
    """Each question goes to the store: nothing that was read counts for a while."""
    monkeypatch.setattr(rendezvous, "poll_interval", lambda _: 0.0)
    with ThreadPoolExecutor() as pool:
        yield Gang(pool)


def test_nodes_meet_as_their_places_say_round_after_round(gang: Gang) -> None:
    nodes = [gang.launcher(rank) for rank in (2, 0, 1)]
    for _ in range(3):
        assert gang.meet(*nodes) == [2, 0, 1]
        assert [node.num_nodes_waiting() for node in nodes] == [0, 0, 0]


def test_all_get_one_store_of_the_round_and_one_address(gang: Gang) -> None:
    nodes = [gang.launcher(rank) for rank in range(3)]
    infos = [joined.result(BOUND) for joined in gang.join(*nodes)]
    infos[1].store.set("a", "1")
    assert infos[2].store.get("a") == b"1"
    assert len({str(info.bootstrap_store_info) for info in infos}) == 1
    infos = [joined.result(BOUND) for joined in gang.join(*nodes)]
    assert not infos[2].store.check(["a"])


def test_a_lost_node_is_replaced_without_waiting_for_it_to_expire(gang: Gang) -> None:
    nodes = [gang.launcher(rank) for rank in range(3)]
    gang.meet(*nodes)
    successor = gang.launcher(1)
    joined = gang.join(successor)
    while not nodes[0].num_nodes_waiting():
        assert not joined[0].done()
    assert nodes[2].num_nodes_waiting() == 1
    assert gang.meet(nodes[0], nodes[2]) == [0, 2]
    assert joined[0].result(BOUND).rank == 1


def test_who_comes_for_a_node_that_was_counted_and_died_is_taken_in_the_next_round(gang: Gang) -> None:
    first, dead, third = (gang.launcher(rank) for rank in range(3))
    gang.meet(first, dead, third)
    gang.join(dead)  # and dies before its processes start
    gang.meet(first, third)
    successor = gang.join(gang.launcher(1))
    while not first.num_nodes_waiting():
        assert not successor[0].done()
    assert gang.meet(first, third) == [0, 2]
    assert successor[0].result(BOUND).rank == 1


def test_who_overwrites_a_seat_that_was_counted_goes_on_to_the_next_round(gang: Gang) -> None:
    """Between its look for the open round and its seat the round was closed with its predecessor."""
    first, _, third = (gang.launcher(rank) for rank in range(3))
    successor = gang.launcher(1)
    prefix = dist.PrefixStore("rendezvous/u/0", gang.store)
    prefix.set("0/taken/1", "1")
    joined = gang.join(successor)
    while not prefix.check(["0/seat/1"]):
        assert not joined[0].done()
    prefix.add("open", 1)
    assert gang.meet(first, third) == [0, 2]
    assert joined[0].result(BOUND).rank == 1


def test_a_launcher_whose_place_another_has_ends(gang: Gang) -> None:
    nodes = [gang.launcher(rank) for rank in range(3)]
    gang.meet(*nodes)
    gang.launcher(1)
    with pytest.raises(PeerLostError, match="another launcher was started as node 1"):
        nodes[1].next_rendezvous()


@pytest.mark.parametrize("rank", [0, 2])
def test_a_node_that_does_not_come_is_waited_for_so_long_and_no_longer(gang: Gang, rank: int) -> None:
    with pytest.raises(RendezvousTimeoutError, match=r"the 3 nodes did not meet within 0\.01 s"):
        gang.launcher(rank, 0.01).next_rendezvous()


def test_a_store_that_cannot_be_opened_is_an_error_of_the_rendezvous() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(RendezvousConnectionError, match=rf"node 0's store at 127\.0\.0\.1:{port}"):
            rendezvous.handler(replace(NODE, host="127.0.0.1", port=port))


@pytest.mark.parametrize("nodes", [3, 64, 1024])
def test_what_a_node_asks_does_not_grow_with_the_others(nodes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    store, asked = dist.HashStore(), list[str]()
    last = GangRendezvous(store, replace(NODE, rank=nodes - 1, num_nodes=nodes))
    prefix = dist.PrefixStore("rendezvous/u/0", store)
    prefix.set(f"0/taken/{nodes - 1}", "1")
    prefix.set("0/agents/MASTER_ADDR", "host")
    prefix.set("0/agents/MASTER_PORT", "1")
    for name in ("set", "add", "wait", "get", "check", "multi_get", "multi_set", "compare_set"):
        monkeypatch.setattr(dist.Store, name, _recorded(getattr(dist.Store, name), asked))
    assert last.next_rendezvous().rank == nodes - 1
    assert len(asked) <= 10
    assert sum(map(len, asked)) < 1000
    asked.clear()
    monkeypatch.setattr(rendezvous, "time", SimpleNamespace(monotonic=iter(range(1000, 10_000)).__next__))
    for _ in range(100):  # a second passes between two looks
        assert last.num_nodes_waiting() == 0
    assert len(asked) == 100
    monkeypatch.setattr(rendezvous, "time", SimpleNamespace(monotonic=lambda: 20_000.0))
    for _ in range(100):
        last.num_nodes_waiting()
    assert len(asked) == 101, "what was read counts for a while"
    assert sum(map(len, asked)) < 100 * 101


def _recorded(plain: Any, asked: list[str]) -> Any:
    def call(store: dist.Store, *arguments: Any) -> Any:
        asked.append(str(arguments))
        return plain(store, *arguments)

    return call


def test_it_starts_no_thread(gang: Gang) -> None:
    """One of torch's destroyed its own rendezvous after a good run: "cannot join current thread"."""
    nodes, threads = [gang.launcher(rank) for rank in range(3)], set(threading.enumerate())
    gang.meet(*nodes)
    others = {thread for thread in set(threading.enumerate()) - threads if "ThreadPoolExecutor" not in thread.name}
    assert not others


@pytest.mark.slow
def test_it_works_over_the_store_of_node_0() -> None:
    node = replace(NODE, num_nodes=2, port=free_ports(1)[0])
    with ThreadPoolExecutor() as pool:
        handlers = [rendezvous.handler(one) for one in (node, replace(node, rank=1))]
        joined = [pool.submit(handler.next_rendezvous) for handler in handlers]
        assert [one.result(BOUND).rank for one in joined] == [0, 1]
    assert [handler.num_nodes_waiting() for handler in handlers] == [0, 0]


@pytest.mark.parametrize(("nodes", "seconds"), [(1, 0.05), (2, 0.05), (10, 0.05), (64, 0.32), (200, 1), (1000, 1)])
def test_many_nodes_look_less_often(nodes: int, seconds: float) -> None:
    assert rendezvous.poll_interval(nodes) == pytest.approx(seconds)
