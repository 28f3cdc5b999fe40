"""Waiting for a port of loopback that listens later, or never."""

import socket
import threading

from bounds import BOUND
from controlplane.freeport import free_ports
from neuron_trainer.ipc import process_group


def test_it_returns_when_the_port_begins_to_listen() -> None:
    (port,), tried = free_ports(1), threading.Event()
    found: list[OSError | None] = []

    def wait() -> None:
        tried.set()
        found.append(process_group.wait_for_port("127.0.0.1", port, BOUND))

    waiter = threading.Thread(target=wait)
    waiter.start()
    assert tried.wait(BOUND)
    with socket.create_server(("127.0.0.1", port)):
        waiter.join(BOUND)
    assert found == [None]


def test_what_was_wrong_to_the_end_is_returned_in_time() -> None:
    (port,) = free_ports(1)
    assert isinstance(process_group.wait_for_port("127.0.0.1", port, 0.05), ConnectionRefusedError)
