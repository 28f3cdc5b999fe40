"""A simulated cluster whose queue preempts training jobs for urgent ones, as Kueue chooses its victims.

Read in Kueue's documentation of preemption: candidates of the lowest effective priority first, among equals the one
that was admitted last; as many as are needed, then those that turn out not to be needed are let off. What the
simulation leaves out: quotas of several queues, topology, and saves within the grace period.
"""

import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from neuron_operator.planning.objects.priority_boost import Boost, next_level

START = datetime.fromisoformat("2026-12-01T00:00:00+00:00")
TICK = 10.0
URGENT_SECONDS = 1800.0


@dataclass
class TrainingJob:
    """One that trains for ever, and saves at its interval."""

    nodes: int
    interval: float
    admitted: float = 0.0
    saved: float = 0.0
    boost: Boost = field(default_factory=Boost)
    writes: list[float] = field(default_factory=list)

    def stake(self, now: float) -> float:
        return self.nodes * (now - self.saved)

    def update(self, now: float, maximum: int) -> None:
        if now - self.saved >= self.interval:
            self.saved = now
        level = next_level(self.boost, self.stake(now), maximum, START + timedelta(seconds=now))
        if level != self.boost.level:
            self.boost = Boost(level, START + timedelta(seconds=now))
            self.writes.append(now)


def jobs(count: int, seed: int) -> list[TrainingJob]:
    """Jobs of 1 to 16 nodes that save every 5 to 60 minutes, and are somewhere between two saves."""
    draw = random.Random(seed)
    made = [TrainingJob(draw.choice([1, 2, 4, 8, 16]), draw.uniform(300, 3600)) for _ in range(count)]
    for job in made:
        job.saved = -draw.uniform(0, job.interval)
        job.admitted = -draw.uniform(0, 36000)
    return made


def victims(running: list[TrainingJob], nodes: int) -> list[TrainingJob]:
    """Return whom the queue preempts for so many nodes."""
    chosen: list[TrainingJob] = []
    for job in sorted(running, key=lambda one: (one.boost.level, -one.admitted)):
        if sum(one.nodes for one in chosen) >= nodes:
            break
        chosen.append(job)
    for job in list(reversed(chosen)):
        if sum(one.nodes for one in chosen) - job.nodes >= nodes:
            chosen.remove(job)
    return chosen


def lost_node_seconds(count: int, hours: float, maximum: int, seed: int) -> tuple[float, list[TrainingJob]]:
    """Return what all preemptions lost, and the jobs; a `maximum` of 0: without boost."""
    everyone, draw = jobs(count, seed), random.Random(seed + 1)
    waiting: dict[float, list[TrainingJob]] = {}
    running, lost, now, urgent = list(everyone), 0.0, 0.0, draw.expovariate(1 / 300)
    while now < hours * 3600:
        for end in [moment for moment in waiting if moment <= now]:
            for job in waiting.pop(end):
                job.admitted = job.saved = now
                running.append(job)
        for job in running:
            job.update(now, maximum)
        if now >= urgent:
            urgent += draw.expovariate(1 / 300)
            preempted = victims(running, draw.choice([4, 8, 16, 32]))
            lost += sum(job.stake(now) for job in preempted)
            running = [job for job in running if job not in preempted]
            for job in preempted:
                job.boost = Boost()  # a new attempt is a new Workload
            waiting[now + URGENT_SECONDS] = preempted
        now += TICK
    return lost, everyone
