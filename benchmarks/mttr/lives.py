"""A life of a run: started once, struck by one fault after the other, and watched until its next new step."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from neuron_trainer.launcher.memory_folder import MemoryFolder

from .systems import EVERY, JOB_UID, NODES, System, environment, free_port

BOUND: Final = 180.0
"""Seconds after which a fault counts as not recovered."""
_START_BOUND: Final = 400.0
_POLL: Final = 0.01
_IN_FLIGHT: Final = 0.3
"""Seconds in which a step that was all but finished at the fault may still be written; no recovery is as short."""
_AFTER_CHECKPOINT: Final = EVERY * 3 // 4
"""Steps between the newest checkpoint and a fault, so that all systems stand to lose the same."""
_VICTIM: Final = 1
"""The node that faults hit: not the one that the rendezvous is on."""


class Fault(StrEnum):
    """What happens; the replacement of an agent that has ended starts at once, as the kubelet's would."""

    RANK = "rank killed"
    AGENT = "agent killed"
    NODE = "node lost"
    SAVE = "killed in a save"
    HANG = "rank hangs"


@dataclass(frozen=True, slots=True)
class Trial:
    """One fault of one system."""

    system: str
    fault: str
    seconds: float | None
    """From the fault to the next new step; None: there was none within the bound."""
    steps_lost: int | None
    last_step: int
    load: float


class Life:
    """A run of a system; as a context manager nothing of it survives."""

    def __init__(self, system: System, folder: Path) -> None:
        self._system, self._folder, self._port = system, folder, free_port()
        self._processes = dict[int, subprocess.Popen[bytes]]()
        self._steps = folder / ("metrics.jsonl" if system.name.startswith("ours") else "steps.jsonl")

    def __enter__(self) -> "Life":
        if (master := self._system.master(self._port)) is not None:
            self._processes[-1] = self._start("master", master.arguments, environment(master))
        for node in range(NODES):
            self._start_agent(node)
        return self

    def __exit__(self, *_: object) -> None:
        for key in list(self._processes):
            self._end(key)

    def suffer(self, fault: Fault) -> Trial:
        """Wait for the step that faults come at, strike, and wait for a step that is new."""
        last = self._until(lambda steps: len(steps) > 1 and steps[-1] % EVERY == _AFTER_CHECKPOINT, _START_BOUND)
        if fault is Fault.SAVE:
            flag = self._folder / "die-in-save"
            flag.touch()
            last = self._until(lambda _: not flag.exists(), _START_BOUND)
        else:
            self._strike(fault)
        if last is None:
            raise TimeoutError(f"{self._system.name} made no step within {_START_BOUND:.0f} s")
        begun = time.monotonic()
        time.sleep(_IN_FLIGHT)
        newest, known = max(before := self._read()), len(before)
        steps = self._until(lambda steps: max(steps) > newest, BOUND)
        seconds = time.monotonic() - begun if steps else None
        lost = sum(step <= newest for step in steps[known:]) if steps else None
        return Trial(self._system.name, fault, seconds, lost, newest, os.getloadavg()[0])

    def _strike(self, fault: Fault) -> None:
        rank = int((self._folder / "pid-3").read_text())
        match fault:
            case Fault.RANK:
                os.kill(rank, signal.SIGKILL)
            case Fault.HANG:
                os.kill(rank, signal.SIGSTOP)
            case Fault.AGENT | Fault.NODE:
                self._end(_VICTIM, is_node=fault is Fault.NODE)

    def _until(self, condition: Callable[[list[int]], bool], bound: float) -> list[int] | None:
        """Keep agents running until the steps are as wanted; return them, or None at the bound."""
        deadline = time.monotonic() + bound
        while time.monotonic() < deadline:
            for key, process in list(self._processes.items()):
                if key >= 0 and process.poll() is not None:
                    self._end(key)
                    self._start_agent(key)
            if condition(steps := self._read()):
                return steps
            time.sleep(_POLL)
        return None

    def _read(self) -> list[int]:
        """Every step in the order in which they were done."""
        text = self._steps.read_text() if self._steps.exists() else ""
        return [json.loads(line)["step"] for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def _start_agent(self, node: int) -> None:
        command = self._system.agent(self._folder, node, self._port)
        self._processes[node] = self._start(f"agent-{node}", command.arguments, environment(command))

    def _start(self, name: str, arguments: Sequence[str], variables: dict[str, str]) -> subprocess.Popen[bytes]:
        with (self._folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(arguments, env=variables, stdout=log, stderr=log, start_new_session=True)

    def _end(self, key: int, *, is_node: bool = False) -> None:
        """Kill an agent with all that it started, as the end of a container does; `is_node`: and its shared memory."""
        process = self._processes[key]
        family = _family(process.pid)
        for pid in family:
            _kill(pid)
        process.wait()
        if is_node and self._system.name.startswith("ours"):
            shutil.rmtree(MemoryFolder(self._folder, JOB_UID, key).path, ignore_errors=True)


def _family(pid: int) -> list[int]:
    """A process and all that it and its children have started."""
    found, left = list[int](), [pid]
    while left:
        found.append(left[-1])
        left = [*left[:-1], *_children(left[-1])]
    return found


def _children(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
