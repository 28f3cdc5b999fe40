"""kubectl as a subprocess: what the demo does is what a person would type, and it is printed."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class DemoError(Exception):
    """Something that a person must know; the message says what to do."""


@dataclass(frozen=True)
class Kubectl:
    """One cluster."""

    program: str
    kubeconfig: str | None
    namespace: str = "default"

    def run(self, *arguments: str, stdin: str | bytes | None = None, timeout: float = 120, check: bool = True) -> str:
        """Standard output of one command; raises with its error output."""
        environment = dict(os.environ)
        if self.kubeconfig:
            environment["KUBECONFIG"] = self.kubeconfig
        data = stdin.encode() if isinstance(stdin, str) else stdin
        command = [self.program, "--namespace", self.namespace, *arguments]
        done = subprocess.run(command, input=data, capture_output=True, env=environment, timeout=timeout, check=False)
        if check and done.returncode:
            raise DemoError(f"kubectl {' '.join(arguments)}: {done.stderr.decode().strip()}")
        return done.stdout.decode()

    def get(self, *arguments: str) -> dict[str, Any]:
        """One object, or an empty mapping when it is not there."""
        text = self.run("get", *arguments, "--output", "json", "--ignore-not-found")
        parsed: dict[str, Any] = json.loads(text) if text.strip() else {}
        return parsed

    def apply(self, manifest: str) -> None:
        """Apply a manifest."""
        self.run("apply", "--filename", "-", stdin=manifest)


def wait_for(what: str, condition: Callable[[], bool], seconds: float, poll: float = 0.5) -> None:
    """Wait for a condition with a bound."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise DemoError(f"waited {seconds:.0f} s for {what}")
        time.sleep(poll)
