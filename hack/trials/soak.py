"""`make soak`: for hours, training after training with faults at random; the seed is printed and repeats the order.

It stops by itself, at the end of its time or at the first training that does not end as the undisturbed one does.
"""

import json
import random
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from demonstration.kubectl import DemoError

from . import faults, processes
from .cluster_fixture import Ground
from .faults import Harm
from .job import EVERY, TrialJob
from .table import Row

FAULTS: Final[dict[str, Harm]] = {
    "kill -9 of a rank": faults.kill_rank,
    "kill -9 of the agent of pod 1": faults.kill_launcher,
    "kill -9 of the agent of pod 0": partial(faults.kill_launcher, index=0),
    "pod 1 deleted": faults.delete_pod,
    "pod 0 deleted": partial(faults.delete_pod, index=0),
    "operator killed": faults.kill_operator,
    "API server killed and started": faults.restart_api_server,
    "SIGSTOP of a rank": faults.stop_rank,
}
_SILENT: Final = ("operator killed", "API server killed and started")
"""Faults that make no line in the ledger."""
PER_JOB: Final = 5
SPEC: Final = {
    "hangPolicy": {"minStepSeconds": 10, "saveSeconds": 60, "loadSeconds": 120, "maxRestarts": 100},
    "restartPolicy": {"maxProcessRestarts": 100, "maxGangRestarts": 1000, "rejoinTimeoutSeconds": 300},
}


@dataclass
class Memory:
    """Resident memory of the operator, sampled between faults; a killed operator begins a new life."""

    samples: list[tuple[float, int, int]] = field(default_factory=list)
    """Seconds since the start of the soak, process id, KiB."""

    def sample(self, ground: Ground, since: float) -> None:
        """One more, where the operator runs."""
        pods = faults.operator_pods(ground)
        for one in processes.of_pods(pods):
            if one.is_launcher:
                self.samples.append((round(time.monotonic() - since, 1), one.pid, _resident(one.pid)))

    def lines(self) -> list[str]:
        """Each life of ten samples and more: how long, first, last and most MiB."""
        lives: dict[int, list[tuple[float, int]]] = defaultdict(list)
        for at, pid, size in self.samples:
            lives[pid].append((at, size))
        told = ["| operator, hours | first MiB | last MiB | most MiB |", "|---|---|---|---|"]
        for life in lives.values():
            if len(life) >= 10:
                sizes = [size / 1024 for _, size in life]
                hours = (life[-1][0] - life[0][0]) / 3600
                told.append(f"| {hours:.2f} | {sizes[0]:.0f} | {sizes[-1]:.0f} | {max(sizes):.0f} |")
        return told


def run(ground: Ground, hours: float, seed: int, journal: Path) -> tuple[list[Row], Memory, str]:
    """Rows by fault, the operator's memory, and the sentence that ends it."""
    draw, start, memory = random.Random(seed), time.monotonic(), Memory()
    rows: dict[str, list[tuple[float, int]]] = defaultdict(list)
    told = f"{hours:g} hours are over"
    with TrialJob(ground, "soak-unbroken") as job:
        job.wait_end()
        unbroken = job.numbers()
    trainings = 0
    while time.monotonic() - start < hours * 3600:
        try:
            done = _training(ground, draw, memory, start, unbroken)
        except (DemoError, AssertionError) as problem:
            told = f"training {trainings + 1} did not end as it should: {problem}"
            break
        trainings += 1
        for name, seconds, lost in done:
            rows[name].append((seconds, lost))
        with journal.open("a") as file:
            file.write(json.dumps({"training": trainings, "faults": done, "memory": memory.samples[-1:]}) + "\n")
    return [_row(name, found) for name, found in rows.items()], memory, f"{told}; {trainings} trainings"


def _training(
    ground: Ground, draw: random.Random, memory: Memory, start: float, unbroken: dict[int, tuple[float, ...]]
) -> list[tuple[str, float, int]]:
    done: list[tuple[str, float, int]] = []
    with TrialJob(ground, "soak", **SPEC) as job:
        for _ in range(PER_JOB):
            job.wait_step(job.last_step() + draw.randint(EVERY + 1, 3 * EVERY))
            job.wait("a pace", lambda: job.status().get("progress", {}).get("measuredSteps", 0) >= 5 or None)
            memory.sample(ground, start)
            name = draw.choice(list(FAULTS))
            lines = len(job.restarts())
            at = FAULTS[name](job)
            if name in _SILENT:
                done.append((name, 0.0, 0))
                continue
            line = job.wait_recovered(lines + 1)[-1]
            done.append((name, faults.seconds_since(at, line["recoveredTime"]), line["stepsLost"]))
        if job.wait_end() != "Succeeded":
            raise DemoError(job.why())
        if job.numbers() != unbroken:
            raise DemoError("the losses differ from the unbroken run's")
        if left := job.remove():
            raise DemoError(f"left behind: {left}")
    return done


def _row(name: str, found: Sequence[tuple[float, int]]) -> Row:
    seconds = [one for one, _ in found if one]
    return Row(name, "cluster", len(found), sum(lost for _, lost in found), 0, seconds, "Succeeded, losses equal")


def _resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    return 0
