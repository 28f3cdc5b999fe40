"""Real rendezvous over a TCPStore on loopback: a node that waits for another looks often enough."""

import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from torch.distributed.elastic.rendezvous import utils

from bounds import BOUND
from controlplane.freeport import free_ports
from neuron_trainer.launcher.elastic import rendezvous
from neuron_trainer.launcher.node import NodeIdentity

NODE = NodeIdentity(
    rank=0, num_nodes=2, processes=1, host="127.0.0.1", port=0, is_in_pod=False, progress_port=0,
    max_process_restarts=0, rejoin_timeout=int(BOUND), accelerator="cpu", job_uid="u", attempt=0,
)  # fmt: skip


@pytest.mark.slow
def test_who_comes_first_looks_for_the_other_many_times_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    waited, has_waited, plain = list[float](), threading.Event(), utils._delay

    def delay(seconds: float | tuple[float, float]) -> None:
        if not isinstance(seconds, tuple):
            waited.append(seconds)
            has_waited.set()
        plain(seconds)

    monkeypatch.setattr(utils, "_delay", delay)
    node = replace(NODE, port=free_ports(1)[0])
    handlers = [rendezvous.handler(one) for one in (node, replace(node, rank=1))]
    with ThreadPoolExecutor() as pool:
        first = pool.submit(handlers[0].next_rendezvous)
        assert has_waited.wait(BOUND), "torch waits elsewhere: look at launcher/elastic/rendezvous.py"
        second = pool.submit(handlers[1].next_rendezvous)
        assert sorted((first.result(BOUND).rank, second.result(BOUND).rank)) == [0, 1]
    for handler in handlers:
        handler.shutdown()  # its heartbeats, too
    assert set(waited) == {0.05}
    assert len(waited) < 20, "what was seen counts longer than a wait: it looks again without seeing anything new"


@pytest.mark.parametrize(("nodes", "seconds"), [(1, 0.05), (2, 0.05), (10, 0.05), (64, 0.32), (200, 1), (1000, 1)])
def test_many_nodes_look_less_often(nodes: int, seconds: float) -> None:
    assert rendezvous.poll_interval(nodes) == pytest.approx(seconds)


class _Handler:
    """As torch's: its thread knows it by a weak reference, and holds it during a heartbeat."""

    def __init__(self, is_in_beat: threading.Event, goes_on: threading.Event) -> None:
        self.is_in_beat, self.goes_on = is_in_beat, goes_on
        self._keep_alive_timer = utils._PeriodicTimer(timedelta(milliseconds=1), _Handler._beat, weakref.ref(self))
        self._keep_alive_timer.start()

    @staticmethod
    def _beat(weak: "weakref.ref[_Handler]") -> None:
        if (own := weak()) is not None:
            own.is_in_beat.set()
            own.goes_on.wait(BOUND)


@pytest.mark.parametrize("leaves", [True, False])
def test_a_thread_of_torch_does_not_destroy_what_waits_for_it(leaves: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """`RuntimeError: cannot join current thread` after a good run, one in twenty. False: that this is its reason."""
    raised = list[str]()
    monkeypatch.setattr(sys, "unraisablehook", lambda one: raised.append(str(one.exc_value)))
    monkeypatch.setattr(threading, "excepthook", lambda one: raised.append(str(one.exc_value)))
    monkeypatch.setattr(rendezvous, "_ABANDONED", [])
    is_in_beat, goes_on = threading.Event(), threading.Event()
    handler: Any = _Handler(is_in_beat, goes_on)
    thread: threading.Thread = handler._keep_alive_timer._thread
    assert is_in_beat.wait(BOUND)
    if leaves:
        rendezvous.leave(handler)
    del handler
    goes_on.set()
    thread.join(BOUND)
    assert not thread.is_alive()
    assert raised == ([] if leaves else ["cannot join current thread"])
