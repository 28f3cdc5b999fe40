"""The launcher's HTTP server under clients that mean no good: anybody who reaches the pod's network may be one.

Real sockets on the loopback. Whatever a client sends, or does not send, `/healthz` is answered to the next one, a
request costs a bounded time, number of threads and amount of memory, nothing of the request comes back, and nothing
is printed. How far this looked: requests that are none, methods, paths, headers (too many, too long, without end),
clients that say nothing, that drip, that do not read, that leave in the middle, and hundreds of them at once; IPv6.
"""

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Final

import pytest

from bounds import BOUND
from neuron_api.resource.progress import Progress
from neuron_trainer.launcher.server import MAX_CONNECTIONS, Server

REPORT: Final = Progress(step=7, log_dir="x" * 200_000)


@pytest.fixture
def port() -> Iterator[int]:
    server = Server(lambda: REPORT, "127.0.0.1", 0)
    server.start()
    yield server.port
    server.close()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=BOUND)


def receive(client: socket.socket) -> bytes:
    """All until the server closes."""
    received = bytearray()
    with contextlib.suppress(OSError):
        while piece := client.recv(65_536):
            received += piece
    return bytes(received)


def exchange(port: int, request: bytes) -> bytes:
    with connect(port) as client:
        with contextlib.suppress(OSError):
            client.sendall(request)
            client.shutdown(socket.SHUT_WR)
        return receive(client)


def get(port: int, path: str) -> tuple[int, bytes]:
    head, _, body = exchange(port, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()).partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def is_healthy(port: int) -> bool:
    return get(port, "/healthz") == (200, b"ok\n")


SMUGGLED: Final = b"GET /healthz HTTP/1.1\r\n\r\n"
BAD: Final = {
    "nothing": b"",
    "an empty line": b"\r\n",
    "zeros": bytes(1_000),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n",
    "a method of its own": b"<script> /progress HTTP/1.1\r\n\r\n",
    "no path": b"GET\r\n\r\n",
    "four words": b"GET / x HTTP/1.1\r\n\r\n",
    "a version that is none": b"GET / HTTP/x.y\r\n\r\n",
    "a version of many digits": b"GET / HTTP/" + b"9" * 5_000 + b".1\r\n\r\n",
    "a path of 1 MB": b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\n\r\n",
    "a header of 1 MB": b"GET / HTTP/1.1\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n",
    "100,000 headers": b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 100_000 + b"\r\n",
    "headers that are no text": b"GET / HTTP/1.1\r\n\xff\xfe\x00: \xff\r\n\r\n",
    "a header without a colon": b"GET / HTTP/1.1\r\nevil\r\n\r\n",
    "a length of many digits": b"GET / HTTP/1.1\r\nContent-Length: " + b"9" * 5_000 + b"\r\n\r\n",
    "both lengths": b"GET / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "an expectation": b"GET / HTTP/1.1\r\nExpect: 100-continue\r\n\r\n",
    "a terminal's commands": b"GET /\x1b[2J\x1b]0;owned\x07 HTTP/1.1\r\n\r\n",
    "line breaks in the path": b"GET /%0d%0aSet-Cookie:%20a=owned HTTP/1.1\r\n\r\n",
}  # fmt: skip
PATHS: Final = (
    "/", "//", "/progress/", "/progress/../../etc/passwd", "/../../etc/passwd", "/..%2f..%2fetc%2fpasswd", "/.",
    "//etc/passwd", "/proc/self/environ", "/progress%00", "/healthz;x", "/PROGRESS", "http://169.254.169.254/",
    "//evil.example/progress", "*", "/metrics/../progress",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", BAD)
def test_a_request_that_is_none_is_refused_and_the_next_one_answered(
    name: str, port: int, capfd: pytest.CaptureFixture[str]
) -> None:
    answer = exchange(port, BAD[name])
    assert b" 200 " not in answer.partition(b"\r\n")[0]
    assert len(answer) < 1_000
    for part in (b"owned", b"script", b"evil", b"\x1b", b"Python", b"Traceback", b"aaaa", b"Set-Cookie"):
        assert part not in answer, "nothing of the request, and nothing about the server, comes back"
    assert is_healthy(port)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("path", PATHS)
def test_no_path_leads_to_a_file(path: str, port: int) -> None:
    status, body = get(port, path)
    assert status in (400, 404)
    assert len(body) < 100
    assert b"root:" not in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "HEAD", "get"])
def test_only_get_is_answered(method: str, port: int) -> None:
    answer = exchange(port, f"{method} /progress HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc".encode())
    assert answer.split()[1] in (b"400", b"501")
    assert b"step" not in answer
    assert is_healthy(port)


def test_the_server_does_not_tell_what_it_is_made_of(port: int) -> None:
    head = exchange(port, b"GET /healthz HTTP/1.1\r\n\r\n").partition(b"\r\n\r\n")[0].lower()
    assert b"server: neuron-trainer\r\n" in head + b"\r\n"
    assert b"python" not in head


@pytest.mark.slow
def test_clients_that_say_nothing_keep_nobody_waiting(port: int) -> None:
    """Many more than there are threads for; the oldest has to go, never the next."""
    silent = [connect(port) for _ in range(4 * MAX_CONNECTIONS)]
    try:
        for client in silent[::40]:
            client.sendall(b"GET /healthz HT")
        assert is_healthy(port)
        assert get(port, "/progress")[0] == 200
        mine = [thread for thread in threading.enumerate() if "process_request_thread" in thread.name]
        assert len(mine) <= MAX_CONNECTIONS + 1
        assert receive(silent[0]) == b"", "it was sent away"
    finally:
        for client in silent:
            client.close()


def test_a_client_that_drips_is_sent_away_in_the_end(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neuron_trainer.launcher.server._Handler.timeout", 0.1)
    with connect(port) as client:
        client.sendall(b"GET /pro")
        assert receive(client) == b""


def test_a_client_that_does_not_read_blocks_nobody(port: int) -> None:
    greedy = []
    try:
        for _ in range(2 * MAX_CONNECTIONS):
            client = connect(port)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1_024)
            client.sendall(b"GET /progress HTTP/1.1\r\n\r\n")
            greedy.append(client)
        assert is_healthy(port)
    finally:
        for client in greedy:
            client.close()


def test_a_client_that_leaves_in_the_middle_is_no_news(port: int, capfd: pytest.CaptureFixture[str]) -> None:
    """A reset while the answer is written: no traceback, which would be a line in the log of the job for each."""
    for request in (b"GET /progress HTTP/1.1\r\n\r\n", b"GET /metrics", b"GET / HTTP/1.1\r\nX: "):
        with connect(port) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            client.sendall(request)
    assert is_healthy(port)
    server_threads = [thread for thread in threading.enumerate() if "process_request_thread" in thread.name]
    for thread in server_threads:
        thread.join(BOUND)
    assert capfd.readouterr() == ("", "")


def test_a_report_that_cannot_be_made_is_an_answer_too(capfd: pytest.CaptureFixture[str]) -> None:
    def broken() -> Progress:
        raise OSError("/secret/place is full")

    server = Server(broken, "127.0.0.1", 0)
    server.start()
    try:
        status, body = get(server.port, "/progress")
        assert (status, b"secret" in body) == (500, False)
        assert get(server.port, "/healthz")[0] == 200
    finally:
        server.close()
    assert capfd.readouterr() == ("", "")


def test_a_pod_of_an_ipv6_cluster_is_reached_over_both() -> None:
    server = Server(lambda: REPORT, "", 0)
    server.start()
    try:
        for address in ("127.0.0.1", *(("::1",) if socket.has_dualstack_ipv6() else ())):
            with socket.create_connection((address, server.port), timeout=BOUND) as client:
                client.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
                assert receive(client).endswith(b"ok\n")
    finally:
        server.close()
