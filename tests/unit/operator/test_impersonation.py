"""Live commands act as the user that the kubeconfig names, with `as` and its kin."""

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from neuron_operator.cli.__main__ import main
from neuron_operator.cli.live.connection import Access, connect
from neuron_operator.kube.errors import MayNotError

Json = dict[str, Any]


class Recording(http.server.BaseHTTPRequestHandler):
    """An API server that refuses, and keeps the headers of each request."""

    seen: ClassVar[list[tuple[str, list[tuple[str, str]]]]] = []

    def do_GET(self) -> None:
        self.seen.append((self.command, [one for one in self.headers.items() if one[0].startswith("Impersonate")]))
        self.send_response(403)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_PATCH = do_GET

    def log_message(self, *_: object) -> None:
        """No lines among those of the tests."""


@pytest.fixture
def server() -> Iterator[str]:
    Recording.seen.clear()
    with http.server.HTTPServer(("127.0.0.1", 0), Recording) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()
        thread.join()


def kubeconfig(folder: Path, server: str, user: Json) -> str:
    """A file with two users, of whom the context `as` has impersonation."""
    file = folder / "kubeconfig"
    file.touch(mode=0o600)
    file.write_text(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "plain",
        "users": [{"name": "me", "user": {"token": "t"}}, {"name": "other", "user": {"token": "t"} | user}],
        "clusters": [{"name": "a", "cluster": {"server": server}}],
        "contexts": [{"name": "plain", "context": {"cluster": "a", "user": "me"}},
                     {"name": "as", "context": {"cluster": "a", "user": "other"}}],
    }))  # fmt: skip
    return str(file)


@pytest.mark.parametrize("command", ["status", "why", "logs", "checkpoints", "suspend", "resume"])
def test_every_request_acts_as_the_user_of_the_kubeconfig(command: str, server: str, tmp_path: Path) -> None:
    """Impersonation in a kubeconfig, which the Kubernetes client ignores: all four fields, repeated groups, a context
    without it in the same file; a request is refused before there is a second one, so the first stands for all."""
    user = {"as": "viewer", "as-uid": "7", "as-groups": ["a", "b"], "as-user-extra": {"acme/Scopes": ["x", "y"]}}
    file = kubeconfig(tmp_path, server, user)
    assert main([command, "tiny", "--kubeconfig", file, "--context", "as"]) == 1
    assert main([command, "tiny", "--kubeconfig", file]) == 1
    own = [("Impersonate-User", "viewer"), ("Impersonate-Uid", "7"), ("Impersonate-Group", "a"),
           ("Impersonate-Group", "b"), ("Impersonate-Extra-acme%2Fscopes", "x"),
           ("Impersonate-Extra-acme%2Fscopes", "y")]  # fmt: skip
    assert Recording.seen == [("GET", own), ("GET", [])]


def test_a_change_acts_as_the_user_of_the_kubeconfig(server: str, tmp_path: Path) -> None:
    file = kubeconfig(tmp_path, server, {"as": "viewer"})
    with connect(Access(file, "as")) as connection, pytest.raises(MayNotError):
        connection.change("tiny", {"suspend": True})
    assert Recording.seen == [("PATCH", [("Impersonate-User", "viewer")])]


@pytest.mark.parametrize(
    ("user", "message"),
    [
        ({"as-groups": ["admins"]}, "as-uid, as-groups or as-user-extra without `as`"),
        ({"as": ["viewer"]}, "the kubeconfig's as must be a string"),
        ({"as": "a\nX-Other: b"}, "the kubeconfig's as must be a string"),
        ({"as": "viewer", "as-groups": "admins"}, "the kubeconfig's as-groups must be a list of strings"),
        ({"as": "viewer", "as-user-extra": {"a": "b"}}, "as-user-extra.a must be a list of strings"),
    ],
)
def test_impersonation_that_cannot_be_meant_sends_no_request(
    user: Json, message: str, server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["suspend", "tiny", "--kubeconfig", kubeconfig(tmp_path, server, user), "--context", "as"]) == 1
    assert message in capsys.readouterr().err
    assert Recording.seen == []
