"""Keeps the cluster's programs running; the one process whose end is the end of all of them.

Two uses. As a library (`ControlPlane`): commands come on standard input, and its end, which is also what
happens when the parent dies in whatever way, stops everything. As a cluster (`hack/cluster up`): it is
process 1 of the cluster's own namespaces, takes commands on a unix socket, restarts what ends, and reaps
the orphans that containers leave to process 1.

Commands are lines: `stop NAME`, `start NAME`, `signal NAME NUMBER`, `status`, `shutdown`; each is
answered by one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from controlplane import component, relay
from controlplane.component import Component

_RESTART_DELAY_SECONDS = 1.0
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class Supervisor:
    """Runs components; single-threaded, everything happens in the event loop."""

    def __init__(self, components: list[Component], logs: Path, *, restart: bool) -> None:
        self._components = {each.name: each for each in components}
        self._logs = logs
        self._restart = restart
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._wanted: set[str] = set()
        self._exits: dict[str, int] = {}
        self._changed = asyncio.Event()
        self.finished = asyncio.Event()

    def start(self, name: str) -> None:
        """Start a component unless it runs."""
        self._wanted.add(name)
        if name in self._running or self.finished.is_set():
            return
        each = self._components[name]
        with (self._logs / f"{name}.log").open("ab") as log:
            try:
                self._running[name] = subprocess.Popen(
                    each.command,
                    env=os.environ | each.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    preexec_fn=_die_with_supervisor,  # noqa: PLW1509 (single-threaded)
                )
            except OSError as error:
                log.write(f"cannot start: {error}\n".encode())
                self._exits[name] = 127

    async def stop(self, name: str) -> None:
        """Kill a component and wait until it is gone. No grace: a test of a lost API server wants it lost."""
        self._wanted.discard(name)
        while name in self._running:
            self._running[name].kill()
            self._changed.clear()
            await self._changed.wait()

    def reap(self) -> None:
        """Collect every ended child, also those inherited from containers."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for name, process in list(self._running.items()):
                if process.pid == pid:
                    process.returncode = os.waitstatus_to_exitcode(status)
                    self._ended(name, process.returncode)

    def _ended(self, name: str, code: int) -> None:
        del self._running[name]
        self._exits[name] = code
        self._changed.set()
        if self._restart and name in self._wanted:
            asyncio.get_running_loop().call_later(_RESTART_DELAY_SECONDS, self._start_if_wanted, name)

    def _start_if_wanted(self, name: str) -> None:
        if name in self._wanted:
            self.start(name)

    async def obey(self, line: str) -> str:
        """Carry out one command line; the answer is one line of JSON."""
        match line.split():
            case ["start", name] if name in self._components:
                self.start(name)
            case ["stop", name] if name in self._components:
                await self.stop(name)
            case ["signal", name, number] if name in self._running and number.isdigit():
                self._running[name].send_signal(int(number))
            case ["shutdown"]:
                self.finished.set()
            case ["status"]:
                pass
            case _:
                return json.dumps(
                    {"error": f"not understood: {line.strip()!r}; components: {', '.join(self._components)}"}
                )
        running = {name: process.pid for name, process in self._running.items()}
        return json.dumps({"running": running, "exits": self._exits, "known": list(self._components)})

    async def run(self) -> None:
        """Start everything, work until told to finish, kill everything."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self.reap)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.finished.set)
        for name, each in self._components.items():
            if not each.is_spare:
                self.start(name)
        await self.finished.wait()
        for name in reversed(self._components):
            await self.stop(name)


def _die_with_supervisor() -> None:
    """Runs in the child before exec: a killed supervisor takes its programs with it."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


async def _serve_socket(supervisor: Supervisor, path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write((await supervisor.obey(line.decode()) + "\n").encode())
            await writer.drain()
        writer.close()

    await asyncio.start_unix_server(answer, path)


async def _serve_standard_input(supervisor: Supervisor) -> None:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        sys.stdout.write(await supervisor.obey(line.decode()) + "\n")
        sys.stdout.flush()
    supervisor.finished.set()


async def _main(options: argparse.Namespace) -> None:
    supervisor = Supervisor(component.load(options.components), options.logs, restart=options.socket is not None)
    keep: list[object] = []
    if options.socket is not None:
        await _serve_socket(supervisor, options.socket)
    else:
        keep.append(asyncio.create_task(_serve_standard_input(supervisor)))
    if options.relay_descriptor is not None:
        keep.append(await relay.serve(socket.socket(fileno=options.relay_descriptor), options.relay_port))
    await supervisor.run()


def main() -> None:
    """Entry point of `python -m controlplane.supervisor`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("components", type=Path, help="JSON file written by component.save")
    parser.add_argument("logs", type=Path, help="directory of the log files")
    parser.add_argument(
        "--socket", type=Path, help="take commands here instead of on standard input, and restart what ends"
    )
    parser.add_argument("--relay-descriptor", type=int, help="inherited listening socket to relay to the API server")
    parser.add_argument("--relay-port", type=int, help="port of the API server in the cluster's network namespace")
    asyncio.run(_main(parser.parse_args()))


if __name__ == "__main__":
    main()
