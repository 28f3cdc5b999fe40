"""The real trackers: `make test-trackers`, which installs them. Not part of `make test`."""

import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from bounds import BOUND

PROGRAM = os.environ.get("NTO_TEST_TRACKERS", "")
"""The server's `mlflow`."""
collect_ignore_glob = [] if PROGRAM else ["test_*.py"]


class MlflowServer:
    """`mlflow server` with SQLite on a free port of loopback; it can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._process = folder, None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"

    _process: "subprocess.Popen[bytes] | None"

    def start(self) -> None:
        """Return when it answers."""
        store = [
            "--backend-store-uri",
            f"sqlite:///{self._folder}/mlflow.db",
            "--artifacts-destination",
            f"{self._folder}/a",
        ]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [PROGRAM, "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1", *store],
                stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": ""}, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + BOUND
        while not self._answers():
            assert self._process.poll() is None, (self._folder / "server.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def stop(self) -> None:
        """End it and its workers."""
        if self._process is not None:
            os.killpg(self._process.pid, 9)
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=0.9) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MlflowServer]:
    """A server that runs."""
    made = MlflowServer(tmp_path)
    made.start()
    yield made
    made.stop()
