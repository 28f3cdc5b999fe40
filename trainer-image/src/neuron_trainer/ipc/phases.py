"""The phases of a start and their durations (B-15), from the launcher's first instruction to the first finished step.

    process_start    the interpreter and what the command line needs
    configuration    the file is read and checked
    imports          PyTorch and the data libraries, beside those of the forkserver
    preflight        every check that needs no process
    rendezvous       waiting for the other nodes, and the process group
    checkpoint_find  choosing what to resume from, and its checksums
    worker_start     from the decision to the worker's first instruction, a fork
    compile          the compile phase, or the wait for another run's
    groups           process groups of the splits
    model_build      the initial weights, and the optimizer's state
    reference        the log-probabilities of DPO's reference, where they are not there
    checkpoint_load  tensors and counters, where there is a checkpoint
    data_seek        loaders, and the place in the data
    first_batch
    first_step

A restart in place begins with `shutdown` and has no phases before `rendezvous`. Times are the system's monotonic clock,
so that a worker goes on with what its launcher began.
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from neuron_api import timeline
from neuron_api.timeline import Activity

ACTIVITIES: Final[Mapping[str, Activity]] = {
    "rendezvous": Activity.RENDEZVOUS,
    "groups": Activity.RENDEZVOUS,
    "compile": Activity.COMPILE,
    "model_build": Activity.LOAD,
    "reference": Activity.LOAD,
    "checkpoint_load": Activity.LOAD,
    "data_seek": Activity.LOAD,
    "first_batch": Activity.DATA,
    "first_step": Activity.STEP,
}
"""What a phase is in the account of the job's time; the others are its start."""


class Phases:
    """A stopwatch with named laps; the first lap begins when the object is made, or at `since` (monotonic)."""

    def __init__(self, since: float | None = None, seconds: Mapping[str, float] | None = None) -> None:
        self.last = time.monotonic() if since is None else since
        """When the current lap began."""
        self.begun = self.last
        """When the first one did."""
        self.seconds: dict[str, float] = dict(seconds or {})
        self._inherited = dict(self.seconds)

    def mark(self, name: str) -> None:
        """End a lap; laps of the same name are added up."""
        now = time.monotonic()
        self.seconds[name] = round(self.seconds.get(name, 0.0) + now - self.last, 3)
        self.last = now

    def begin_again(self) -> None:
        """Drop all laps: a restart begins now."""
        self.last, self.seconds = time.monotonic(), {}

    def activities(self) -> dict[str, float]:
        """Return the seconds by activity of the laps that this process has ended itself."""
        own = timeline.difference(self.seconds, self._inherited)
        return timeline.add(*({str(ACTIVITIES.get(name, Activity.START)): value} for name, value in own.items()))

    @property
    def total(self) -> float:
        """The seconds of all laps."""
        return round(sum(self.seconds.values()), 3)

    @property
    def longest(self) -> str:
        """The lap that took longest; empty without laps."""
        return max(self.seconds, key=lambda name: self.seconds[name], default="")

    def __str__(self) -> str:
        laps = ", ".join(f"{name} {seconds:.2f}" for name, seconds in self.seconds.items())
        return f"{self.total:.2f} s ({laps})"


def process_start() -> float:
    """Return when this process was started, on the monotonic clock; now, where the system does not say."""
    now = time.monotonic()
    try:
        with Path("/proc/self/stat").open() as file:
            ticks = int(file.read().rpartition(")")[2].split()[19])
        return now - (time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError, AttributeError):
        return now
