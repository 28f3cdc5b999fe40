"""Detection, rendezvous and restart of up to 1,024 launchers on one machine, with the real rendezvous and no training.

    python -m benchmarks.mttr.scale --kinds gang c10d --sizes 64 256 1024 --json FILE

Each launcher is a thread of one of many processes, with a real torch agent, the product's rendezvous (`gang`) or
torch's own with its defaults (`c10d`), and a client of its own of the TCPStore that launcher 0 serves on loopback.
Its workers are stubs that fail when they are told to. All share the cores: seconds are those of this machine and
bounds for a cluster, where each node has its own; requests and bytes are counted and need no clock.
"""

import argparse
import gc
import json
import mmap
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import torch.distributed as dist
from torch.distributed.elastic.agent.server.api import (
    RunResult,
    SimpleElasticAgent,
    WorkerGroup,
    WorkerSpec,
    WorkerState,
)
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure
from torch.distributed.elastic.rendezvous import RendezvousHandler, RendezvousParameters
from torch.distributed.elastic.rendezvous import registry as rendezvous_registry

from neuron_trainer.launcher.elastic import rendezvous
from neuron_trainer.launcher.node import NodeIdentity

from . import growth

IDLE_SECONDS: Final = 20.0
BOUND: Final = 300.0
SETTLED_SECONDS: Final = 3.0
_FIELDS: Final = ("rounds", "asked", "begun", "fails")
"""Of a launcher: rounds begun, when the newest was asked for and begun (monotonic), whether its worker is to fail."""
_COUNTS: Final = ("requests", "bytes")
"""Of a process: to the store."""
_THREADS: Final = 16
"""Launchers of one process; launcher 0, which serves the store, and the one that is killed have their own."""


class Board:
    """Numbers that all processes see, in memory that they map: a row for each launcher or process."""

    def __init__(self, names: tuple[str, ...], size: int) -> None:
        self._names, self.size = names, size
        self._numbers = memoryview(mmap.mmap(-1, size * len(names) * 8)).cast("d")

    def get(self, name: str) -> list[float]:
        return list(self._numbers[self._names.index(name) :: len(self._names)])

    def put(self, row: int, name: str, number: float) -> None:
        self._numbers[row * len(self._names) + self._names.index(name)] = number


class Launcher(SimpleElasticAgent):
    """torch's agent with a worker that does nothing."""

    def __init__(self, spec: WorkerSpec, board: Board, rank: int) -> None:
        super().__init__(spec)
        self._board, self._rank = board, rank

    def _rendezvous(self, worker_group: WorkerGroup) -> None:
        self._board.put(self._rank, "asked", time.monotonic())
        super()._rendezvous(worker_group)

    def _start_workers(self, worker_group: WorkerGroup) -> dict[int, Any]:
        self._board.put(self._rank, "fails", 0)
        self._board.put(self._rank, "begun", time.monotonic())
        self._board.put(self._rank, "rounds", self._board.get("rounds")[self._rank] + 1)
        return {worker.local_rank: worker.global_rank for worker in worker_group.workers}

    def _stop_workers(self, _: WorkerGroup) -> None:
        """There are none."""

    def _shutdown(self, *_: Any, **__: Any) -> None:
        """As above."""

    def _monitor_workers(self, worker_group: WorkerGroup) -> RunResult:
        if not self._board.get("fails")[self._rank]:
            return RunResult(state=WorkerState.HEALTHY)
        failure = ProcessFailure(0, os.getpid(), 1, "/dev/null")
        return RunResult(state=WorkerState.FAILED, failures={worker_group.workers[0].global_rank: failure})


def handler(kind: str, node: NodeIdentity) -> RendezvousHandler:
    """The product's rendezvous, or torch's with its own defaults."""
    if kind == "gang":
        return rendezvous.handler(node)
    return rendezvous_registry.get_rendezvous_handler(
        RendezvousParameters(
            backend="c10d",
            endpoint=f"{node.host}:{node.port}",
            run_id=node.job_uid,
            min_nodes=node.num_nodes,
            max_nodes=node.num_nodes,
            local_addr=node.address,
            is_host=node.is_host,
        )
    )


def _count_requests(counts: Board, row: int) -> None:
    """Count what this process asks of any store; a prefix store calls the store below it in C++, uncounted."""
    lock, sums = threading.Lock(), dict.fromkeys(_COUNTS, 0)

    def counted(plain: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            result = plain(*arguments, **named)
            with lock:
                sums["requests"] += 1
                sums["bytes"] += _size(arguments[1:]) + _size(result)
                for name, number in sums.items():
                    counts.put(row, name, number)
            return result

        return call

    for name in ("get", "set", "add", "wait", "check", "compare_set", "multi_get", "multi_set"):
        setattr(dist.Store, name, counted(getattr(dist.Store, name)))


def _size(value: Any) -> int:
    if isinstance(value, str | bytes):
        return len(value)
    return sum(map(_size, value)) if isinstance(value, list | tuple) else 8


class Gang:
    """The launchers of one size."""

    def __init__(self, kind: str, size: int) -> None:
        self.kind, self.size, self.victim = kind, size, size // 2
        self.board, self.counts = Board(_FIELDS, size), Board(_COUNTS, size)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = int(probe.getsockname()[1])
        self.pids = dict[int, int]()
        """Of each process, by its first launcher."""

    def start(self) -> None:
        """Start all."""
        others = [rank for rank in range(1, self.size) if rank != self.victim]
        self.fork([0])
        self.fork([self.victim])
        for first in range(0, len(others), _THREADS):
            self.fork(others[first : first + _THREADS])

    def fork(self, ranks: Sequence[int]) -> None:
        """Start a process with some launchers."""
        if pid := os.fork():
            self.pids[ranks[0]] = pid
            return
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            _count_requests(self.counts, ranks[0])
            threads = [threading.Thread(target=self._run, args=(rank,)) for rank in ranks]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            os._exit(1)

    def _run(self, rank: int) -> None:
        node = NodeIdentity(
            rank=rank, num_nodes=self.size, processes=1, host="127.0.0.1", port=self._port, is_in_pod=False,
            progress_port=0, max_process_restarts=0, rejoin_timeout=int(BOUND), accelerator="cpu", job_uid="scale",
            attempt=0,
        )  # fmt: skip
        rendezvous.wait_for_store(node, time.monotonic() + BOUND)
        spec = WorkerSpec(
            "trainer", 1, handler(self.kind, node), entrypoint=print, max_restarts=1000,
            monitor_interval=rendezvous.poll_interval(self.size),
        )  # fmt: skip
        Launcher(spec, self.board, rank).run()

    def until_next(self, before: list[float]) -> tuple[float, float]:
        """Wait until each has begun a further round; return when the last one asked for it, and when it began."""
        deadline, late = time.monotonic() + BOUND, self.size
        while time.monotonic() < deadline:
            rounds = self.board.get("rounds")
            late = sum(now <= then for now, then in zip(rounds, before, strict=True))
            if not late:
                return max(self.board.get("asked")), max(self.board.get("begun"))
            time.sleep(0.02)
        raise TimeoutError(f"{late} of {self.size} launchers did not begin another round within {BOUND:.0f} s")

    def settle(self) -> list[float]:
        """Return the rounds of each launcher once they have stayed as they are for a while: what c10d's agents have
        read counts for a second, so that they may restart once more for a node that has long been taken in."""
        rounds, since = list[float](), time.monotonic()
        while time.monotonic() - since < SETTLED_SECONDS:
            if (now := self.board.get("rounds")) != rounds:
                rounds, since = now, time.monotonic()
            time.sleep(0.1)
        return rounds

    def asked(self, name: str = "requests") -> float:
        """Return requests to the store, or their bytes, by all processes until now."""
        return sum(self.counts.get(name))

    def kill(self, rank: int) -> None:
        os.kill(self.pids[rank], signal.SIGKILL)
        os.waitpid(self.pids.pop(rank), 0)

    def __enter__(self) -> "Gang":
        return self

    def __exit__(self, *_: object) -> None:
        for rank in list(self.pids):
            self.kill(rank)


def measure(kind: str, size: int, numbers: dict[str, float]) -> None:
    """One life: a start, a while of nothing, a failed process, a lost node."""
    with Gang(kind, size) as gang:
        begun = time.monotonic()
        gang.start()
        forked = time.monotonic()
        numbers["forks"] = forked - begun
        numbers["first rendezvous"] = gang.until_next([0] * size)[1] - forked
        gang.settle()
        numbers.update(_idle(gang))
        numbers.update(_restart(gang, "process", lambda: gang.board.put(gang.victim, "fails", 1)))
        numbers.update(_restart(gang, "node", lambda: _lose(gang)))


def _lose(gang: Gang) -> None:
    """Kill a launcher and start another; the processes of all others see that their connections are closed."""
    gang.kill(gang.victim)
    gang.fork([gang.victim])
    for rank in set(range(gang.size)) - {gang.victim}:
        gang.board.put(rank, "fails", 1)


def _idle(gang: Gang) -> dict[str, float]:
    """Requests, bytes and processor time of the store's host while nothing happens."""
    requests, size, cpu, begun = gang.asked(), gang.asked("bytes"), _cpu(gang.pids[0]), time.monotonic()
    time.sleep(IDLE_SECONDS)
    seconds = time.monotonic() - begun
    return {
        "requests/s": (gang.asked() - requests) / seconds,
        "bytes/s": (gang.asked("bytes") - size) / seconds,
        "host's cores": (_cpu(gang.pids[0]) - cpu) / seconds,
    }


def _restart(gang: Gang, name: str, fault: Callable[[], None]) -> dict[str, float]:
    rounds, requests, begun = gang.settle(), gang.asked(), time.monotonic()
    fault()
    asked, done = gang.until_next(rounds)
    return {
        f"{name}: detection": asked - begun,
        f"{name}: rendezvous": done - asked,
        f"{name}: restart": done - begun,
        f"{name}: requests": gang.asked() - requests,
    }


def _cpu(pid: int) -> float:
    """Seconds of processor time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    """0 when the product's requests do not grow faster than the nodes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", default=["gang", "c10d"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[64, 256, 1024])
    parser.add_argument("--json", type=Path, help="write the numbers here")
    chosen = parser.parse_args()
    gc.freeze()
    # Without it a torch whose node was replaced never meets it: node 0 does not tell the successor its address again.
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    os.environ["TORCH_ELASTIC_WORKER_IDENTICAL"] = "1"
    results = dict[str, dict[int, dict[str, float]]]()
    for size in chosen.sizes:
        for kind in chosen.kinds:
            numbers = results.setdefault(kind, {}).setdefault(size, {})
            try:
                measure(kind, size, numbers)
            except TimeoutError as problem:
                print(f"{kind} at {size}: {problem}", flush=True)
            print(json.dumps({"kind": kind, "size": size, "load": os.getloadavg()[0]} | numbers), flush=True)
    print("\n".join(growth.table(results)))
    if chosen.json:
        chosen.json.write_text(json.dumps(results, indent=1) + "\n")
    slope = growth.slope({size: numbers["requests/s"] for size, numbers in results.get("gang", {}).items()})
    return 0 if slope is None or slope <= growth.BAR else 1


if __name__ == "__main__":
    sys.exit(main())
