"""Launchers as processes on loopback: each is a "pod" that can be killed and replaced."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from bounds import BOUND
from neuron_api import contract
from neuron_api.resource import progress
from neuron_api.resource.progress import Progress

T = TypeVar("T")


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(
    what: str,
    condition: Callable[[], T | None],
    bound: float = BOUND,
    gang: "Gang | None" = None,
    pause: float = 0.02,
) -> T:
    """Poll until the condition gives something; fail with its name, and with what the gang said."""
    deadline = time.monotonic() + bound
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(pause)
    raise AssertionError(f"waited {bound:.0f} s for {what}\n{gang.logs() if gang else ''}")


class Launcher:
    """One `neuron-train run` of a gang."""

    def __init__(self, gang: "Gang", rank: int) -> None:
        self.rank, self.progress_port = rank, free_port()
        self.log = gang.folder / f"launcher-{rank}-{len(gang.started)}.log"
        environment = {
            **os.environ,
            contract.ENV_JOB_UID: "uid-1",
            contract.ENV_NODE_RANK: str(rank),
            contract.ENV_NUM_NODES: str(gang.num_nodes),
            contract.ENV_RENDEZVOUS_ENDPOINT: f"127.0.0.1:{gang.port}",
            contract.ENV_PROGRESS_PORT: str(self.progress_port),
            contract.ENV_REJOIN_TIMEOUT: f"{BOUND:.0f}",
            "OMP_NUM_THREADS": "1",
            **gang.variables,
        }
        with self.log.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "neuron_trainer", "run", str(gang.config)],
                env=environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def get(self, path: str) -> bytes | None:
        """What the launcher serves there; None while nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.progress_port}{path}", timeout=BOUND) as answer:
                body: bytes = answer.read()
                return body
        except OSError:
            return None

    def report(self) -> Progress | None:
        """The /progress document."""
        body = self.get(contract.PROGRESS_PATH)
        return None if body is None else progress.from_json(body)

    def wait(self, bound: float = BOUND) -> int:
        """Exit code."""
        try:
            return self.process.wait(bound)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"launcher {self.rank} still runs after {bound:.0f} s\n{self.log.read_text()}"
            ) from None

    def kill(self) -> None:
        """The pod is lost."""
        self.process.kill()
        self.process.wait()


class Gang:
    """All launchers of a job; use as a context manager: nothing survives it."""

    def __init__(self, folder: Path, config: Path, num_nodes: int, variables: Mapping[str, str] | None = None) -> None:
        """`variables`: further ones of each launcher."""
        self.folder, self.config, self.num_nodes, self.port = folder, config, num_nodes, free_port()
        self.variables = variables or {}
        self.started: list[Launcher] = []

    def start(self, rank: int) -> Launcher:
        """Start (or replace) one node."""
        launcher = Launcher(self, rank)
        self.started.append(launcher)
        return launcher

    def start_all(self) -> list[Launcher]:
        """All nodes."""
        return [self.start(rank) for rank in range(self.num_nodes)]

    def __enter__(self) -> "Gang":
        return self

    def __exit__(self, *_: object) -> None:
        for launcher in self.started:
            if launcher.process.poll() is None:
                launcher.kill()

    def logs(self) -> str:
        """What all launchers said, for a failing test."""
        return "\n".join(f"--- {one.log.name}\n{one.log.read_text()}" for one in self.started)


def metrics(log_dir: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, of each step the last one: steps that were done again have several."""
    path = log_dir / contract.METRICS_FILE
    lines = [json.loads(line) for line in path.read_text().splitlines() if line] if path.exists() else []
    newest = {line["step"]: line for line in lines}
    return [newest[step] for step in sorted(newest)]


def last_step(log_dir: Path) -> int:
    """Newest logged step."""
    lines = metrics(log_dir)
    return int(lines[-1]["step"]) if lines else 0


def numbers(log_dir: Path) -> dict[int, tuple[float, ...]]:
    """What must be equal bit for bit, by step."""
    return {m["step"]: (m["loss"], m["lr"], m["gradient_norm"], m["consumed_samples"]) for m in metrics(log_dir)}


def workers(launcher: Launcher) -> list[int]:
    """Process ids of the ranks of a launcher, oldest first: the children of its forkserver.

    Not those that run another program: importing torch calls `ldconfig -p`, for a few milliseconds.
    """
    found = []
    for server in _children(launcher.process.pid):
        found += [child for child in _children(server) if _program(child) == _program(server)]
    return sorted(found)


def variables(pid: int) -> dict[str, str]:
    """The environment that a process was started with; of one that has just ended, nothing."""
    try:
        content = Path(f"/proc/{pid}/environ").read_bytes().decode()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return dict(one.split("=", 1) for one in content.split("\0") if "=" in one)


def kill_worker(launcher: Launcher, index: int = -1) -> int:
    """SIGKILL one rank."""
    pid = workers(launcher)[index]
    os.kill(pid, signal.SIGKILL)
    return pid


def is_stopped(pid: int) -> bool:
    """Whether SIGSTOP has arrived."""
    return _state(pid) == "T"


def is_alive(pid: int) -> bool:
    """Whether it can still do something."""
    return _state(pid) not in ("", "Z", "X")


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _program(pid: int) -> bytes | None:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
