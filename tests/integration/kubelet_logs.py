"""The one part of a kubelet that reading a log needs: an HTTPS server that the API server asks for a container's log.

It serves what a test wrote, at the kubelet's own path, and follows while the test says that the container runs. What it
does not prove: how a kubelet rotates logs.
"""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Condition, Thread
from urllib.parse import parse_qs, urlparse

from bounds import BOUND
from controlplane.certificates import Authority


class PodLogs:
    """Lines by pod; a log that is followed ends when its container has."""

    def __init__(self) -> None:
        self.port = 0
        self._lines: dict[str, list[str]] = {}
        self._ended: set[str] = set()
        self._changed = Condition()

    def write(self, pod: str, *lines: str) -> None:
        with self._changed:
            self._lines.setdefault(pod, []).extend(lines)
            self._changed.notify_all()

    def end(self, pod: str) -> None:
        with self._changed:
            self._ended.add(pod)
            self._changed.notify_all()

    def read(self, pod: str, *, follow: bool) -> Iterator[str]:
        sent = 0
        while True:
            with self._changed:
                new, is_over = self._lines.get(pod, [])[sent:], not follow or pod in self._ended
                if not new and not is_over:
                    self._changed.wait(BOUND)
                    continue
            yield from new
            sent += len(new)
            if not new:
                return


@contextmanager
def serve(folder: Path) -> Iterator[PodLogs]:
    """Serve on a free port of loopback, with a certificate of its own."""
    logs = PodLogs()
    pair = Authority(folder).leaf("kubelet", user="system:node:node-1", group="system:nodes", hosts=("127.0.0.1",))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"

        def do_GET(self) -> None:
            request = urlparse(self.path)
            _, kind, _namespace, pod, container = request.path.split("/")
            assert (kind, container) == ("containerLogs", "trainer")
            query = parse_qs(request.query)
            assert query["timestamps"] == ["true"]
            self.send_response(200)
            self.end_headers()
            for line in logs.read(pod, follow=query.get("follow") == ["true"]):
                self.wfile.write(f"{line}\n".encode())
                self.wfile.flush()

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.daemon_threads = True
    logs.port = server.server_address[1]
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield logs
    finally:
        server.shutdown()
        server.server_close()
