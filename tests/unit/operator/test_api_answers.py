"""What the plugin makes of answers that no healthy API server gives, and of kubeconfigs that nobody can read.

The kind: a watch that is no stream, a proxy's page, a file that is no YAML. The servers here are real HTTP servers of
this machine that answer so; tests/integration has the API server.
"""

import http.server
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from neuron_operator.cli import completion
from neuron_operator.cli.__main__ import main
from neuron_operator.cli.dashboard import cluster_source
from neuron_operator.cli.dashboard.cluster_source import ClusterSource
from neuron_operator.cli.live.connection import Access, connect
from neuron_operator.cli.live.kubeconfig import current_context
from neuron_operator.kube.errors import ClusterError, MayNotError, UnreachableError

Json = dict[str, Any]
NO_JOBS = json.dumps({"items": [], "metadata": {"resourceVersion": "7"}}).encode()
GONE = json.dumps({"type": "ERROR", "object": {"code": 410, "message": "too old resource version"}}).encode()


class Answers(http.server.BaseHTTPRequestHandler):
    """Lists no jobs; a watch gets what the test says."""

    watch: ClassVar[tuple[int, bytes]] = (200, b"")
    lists: ClassVar[int] = 0

    def do_GET(self) -> None:
        is_watch = "watch=true" in self.path
        type(self).lists += not is_watch
        status, content = self.watch if is_watch else (200, NO_JOBS)
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """No lines among those of the tests."""


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Iterator[str]:
    Answers.lists = 0
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        file = tmp_path / "kubeconfig"
        file.touch(mode=0o600)
        file.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "a",
            "users": [{"name": "a", "user": {"token": "t"}}],
            "clusters": [{"name": "a", "cluster": {"server": f"http://127.0.0.1:{listening.server_port}"}}],
            "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        }))  # fmt: skip
        yield str(file)
        listening.shutdown()
        thread.join()


def watched(kubeconfig: str) -> list[Json]:
    with connect(Access(kubeconfig)) as connection:
        return list(connection.watch_jobs("7", lambda _: None, everywhere=False))


@pytest.mark.parametrize(
    ("status", "content", "error", "words"),
    [
        (400, b'{"message": "invalid"}', ClusterError, "cannot be watched: invalid"),
        (403, b'{"message": "no"}', MayNotError, "you may not watch neurontrainingjobs"),
        (404, b"<html>", ClusterError, "cannot be watched: <html>"),
        (429, b'{"message": "slow down"}', UnreachableError, "the API server answers 429: slow down"),
        (503, b"", UnreachableError, "the API server answers 503"),
        (200, b"<html>\n<p>log in</p>\n", ClusterError, "not that of an API server: <html>"),
        (200, b'{"type": "ADDED"}\n', ClusterError, "not that of an API server"),
        (200, b"[]\n", ClusterError, "not that of an API server"),
    ],
)
def test_a_watch_that_is_none_is_one_sentence(
    kubeconfig: str, monkeypatch: pytest.MonkeyPatch, status: int, content: bytes, error: type[Exception], words: str
) -> None:
    monkeypatch.setattr(Answers, "watch", (status, content))
    with pytest.raises(error, match=words):
        watched(kubeconfig)


def test_a_version_that_is_forgotten_is_no_error(kubeconfig: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Answers, "watch", (410, b'{"message": "too old"}'))
    assert watched(kubeconfig) == []


@pytest.mark.parametrize("watch", [(200, b""), (410, b"{}"), (200, GONE + b"\n"), (403, b"{}")])
def test_watches_that_end_at_once_are_not_begun_again_at_once(
    kubeconfig: str, monkeypatch: pytest.MonkeyPatch, watch: tuple[int, bytes]
) -> None:
    """27,155 listings a second were counted."""
    monkeypatch.setattr(Answers, "watch", watch)
    pauses: list[float] = []
    stopped = threading.Event()

    class Paused(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            assert timeout is not None
            pauses.append(timeout)
            if len(pauses) == 3:
                stopped.set()
            return stopped.is_set()

        def is_set(self) -> bool:
            return stopped.is_set()

    begin = time.monotonic()
    ClusterSource(Access(kubeconfig), "a", "default", everywhere=False).watch(lambda jobs: None, Paused())
    spent = time.monotonic() - begin
    assert Answers.lists == 3
    assert all(pause > cluster_source._POLL - spent for pause in pauses)


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "\x00",
        "- a",
        "5",
        "",
        "contexts: 5",
        "contexts:\n- x",
        "current-context: a\ncontexts:\n- name: a\n",
        "\t",
    ],
)
def test_a_damaged_kubeconfig_is_one_sentence(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(text)
    assert main(["list", "--kubeconfig", str(file)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("kubectl neuron: no cluster: ")
    assert error.count("\n") == 1
    monkeypatch.setenv("KUBECONFIG", str(file))
    assert completion.complete(["list", "--context", ""], completion.job_names)[0] == []
    assert completion.complete(["status", ""], completion.job_names)[0] == []


def test_a_pod_without_a_kubeconfig_has_a_name_for_its_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "missing"))
    assert current_context(None, None) == "this cluster"
    assert current_context(None, "named") == "named"


@pytest.mark.parametrize("port", ["70000", "-1", "http", "8_0", "1e3", ""])
def test_a_port_that_is_none_is_named_with_the_range(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["dashboard", f"--port={port}"])
    assert f"{port!r} is no port: give a number from 0 (a free one) to 65535" in capsys.readouterr().err
