"""Processes that are slower than those with the same work, step after step.

Each step gives a ratio for each process: its own time (`StepMeter`) over the median of the others'. Of a window of
steps the median of the ratios counts, so that a pause now and then is nothing. How far it may be from 1 by chance is
learned from the run itself. Where that is much, a longer window decides.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from neuron_api.contract import MAX_STRAGGLERS
from neuron_api.platform.topology import Topology
from neuron_api.resource.progress import StragglerReport

WINDOWS: Final = (20, 40, 80, 160)
"""Steps that are looked at together. A process that is slow enough for the first is named within 30 steps."""
INTERVAL: Final = 5
"""Steps between two looks."""
LEAST_RATIO: Final = 1.10
"""A process that takes less than this is none."""
HEALTHY_RATIO: Final = 1.05
"""Below it, over the first window, a process that was one is none any more."""
_LEAST_SECONDS: Final = 0.002
"""Of a step; less is not worth a look."""
_QUANTILES: Final = (0.95, 0.84, 0.75, 0.67)
"""That half of the steps of a window lie above such a quantile of all steps is no chance: one in 10^7 windows or less,
whatever the distribution (binomial: P(10 of 20) = 1e-8, P(20 of 40) = 1e-7, P(40 of 80) = 1e-6, P(80 of 160) = 5e-6;
the longer windows are fewer)."""

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Straggler:
    """A slow process, and the evidence."""

    rank: int
    part: str
    """What takes longer: `work`, or `data`, the wait for the batch."""
    seconds: float
    """Its own time of a step, median."""
    usual: float
    """The median of the others'."""
    ratio: float
    """Median over steps."""
    steps: int
    """That the evidence is from."""
    step: int
    """The newest of them."""


class StragglerDetector:
    """Compares the processes of a start. `groups`: of each rank, what work it has: only the same is compared."""

    def __init__(self, groups: Sequence[object]) -> None:
        ranks: dict[object, list[int]] = {}
        for rank, group in enumerate(groups):
            ranks.setdefault(group, []).append(rank)
        self._groups = [np.array(members) for members in ranks.values() if len(members) > 1]
        self._size = len(groups)
        length = WINDOWS[-1]
        self._logs = np.zeros((length, self._size))
        """Logarithms of the ratios of the newest steps, and their times in seconds."""
        self._work, self._data = np.zeros((length, self._size)), np.zeros((length, self._size))
        self._count = 0
        self._bounds: list[float] = []
        """Of the windows."""
        self.current: dict[int, Straggler] = {}
        """Those that are slow now, by rank, as they were found."""

    @property
    def compares(self) -> bool:
        """Return whether any two processes have the same work."""
        return bool(self._groups)

    def add(self, step: int, work: Array, data: Array) -> list[Straggler]:
        """Take seconds of each process in a step; return the stragglers that are new."""
        place = self._count % len(self._work)
        self._work[place], self._data[place] = work, data
        self._count += 1
        if self._count % INTERVAL:
            return []
        self._compare()
        return self._look(step) if self._count >= WINDOWS[0] else []

    def _compare(self) -> None:
        """Add the ratios of the newest steps."""
        places = np.arange(self._count - INTERVAL, self._count) % len(self._logs)
        own = self._work[places] + self._data[places]
        for members in self._groups:
            of_group = own[:, members]
            self._logs[places[:, None], members] = np.log(of_group / others_median(of_group))

    def _newest(self, values: Array, count: int) -> Array:
        return values[np.arange(self._count - count, self._count) % len(values)]

    def _look(self, step: int) -> list[Straggler]:
        short = np.median(self._newest(self._logs, WINDOWS[0]), axis=0)
        for rank in [rank for rank in self.current if short[rank] < np.log(HEALTHY_RATIO)]:
            del self.current[rank]
        if self._count % WINDOWS[0] == 0 or not self._bounds:
            self._bounds = self._learn()
        new: dict[int, Straggler] = {}
        for window, bound in zip(WINDOWS, self._bounds, strict=True):
            if window > self._count or self._count % (window // 4):
                continue
            logs = self._newest(self._logs, window)
            slow = (np.median(logs, axis=0) > bound) & (short > np.log(HEALTHY_RATIO))
            # Slow in every part of the window: not something that came and went.
            for rank in map(int, np.flatnonzero(slow)):
                parts = np.median(logs[:, rank].reshape(4, -1), axis=1)
                if rank in self.current or rank in new or parts.min() < np.log(HEALTHY_RATIO):
                    continue
                if (straggler := self._evidence(rank, window, step)) is not None:
                    new[rank] = straggler
        self.current |= new
        return list(new.values())

    def _learn(self) -> list[float]:
        """Return for each window what the median of its logarithms is at most, of processes that differ by chance."""
        logs = self._newest(self._logs, min(self._count, len(self._logs)))[:, np.concatenate(self._groups)]
        logs = logs[: max(WINDOWS[0], len(logs) - WINDOWS[0])]  # what has just begun to be slow is not the usual
        # What a process is slower by throughout is no chance.
        rest = logs - np.median(logs, axis=0)
        limit = 3 * np.quantile(np.abs(rest), 0.68)
        cut = np.clip(rest, -limit, limit)
        cut -= cut.mean(axis=0)
        similarity = float((cut[1:] * cut[:-1]).sum() / max(float((cut * cut).sum()), 1e-30))
        similarity = min(0.95, max(0.0, similarity + 2 / len(logs)))  # of few steps it is underestimated
        stretch = ((1 + similarity) / (1 - similarity)) ** 0.5
        return [max(float(np.log(LEAST_RATIO)), stretch * float(np.quantile(rest, part))) for part in _QUANTILES]

    def _evidence(self, rank: int, window: int, step: int) -> Straggler | None:
        members = next(group for group in self._groups if rank in group)
        others = members[members != rank]
        work, data = self._newest(self._work, window), self._newest(self._data, window)
        own, usual = np.median(work[:, rank] + data[:, rank]), np.median((work + data)[:, others])
        if own - usual < _LEAST_SECONDS:
            return None
        more_work = np.median(work[:, rank]) - np.median(work[:, others])
        more_data = np.median(data[:, rank]) - np.median(data[:, others])
        ratio = float(np.exp(np.median(self._newest(self._logs, window)[:, rank])))
        part = "data" if more_data > more_work else "work"
        return Straggler(rank, part, float(own), float(usual), ratio, window, step)


def others_median(values: Array) -> Array:
    """Return for each value the median of the others in its row, of which there is one at least."""
    count = values.shape[1]
    order = np.argsort(values, axis=1)
    ascending, places = np.take_along_axis(values, order, axis=1), np.arange(count)
    low, high = (count - 2) // 2, (count - 1) // 2
    # Without the value at a place, those behind it move up by one.
    lower = np.where(places <= low, ascending[:, [low + 1]], ascending[:, [low]])
    higher = np.where(places <= high, ascending[:, [high + 1]], ascending[:, [high]])
    medians = np.empty_like(values)
    np.put_along_axis(medians, order, (lower + higher) / 2, axis=1)
    return medians


class RankComparison:
    """All processes of a start, by their ranks and nodes; on global rank 0."""

    def __init__(self, topology: Topology, experts: int) -> None:
        """`experts`: processes among which the experts are divided."""
        self._each = topology.processes_per_node
        self._groups = work_groups(topology, experts)
        self._detector = StragglerDetector(self._groups)
        self.reports: tuple[StragglerReport, ...] = ()
        """Those that are slow now, the first ones first."""

    @property
    def compares(self) -> bool:
        """Return whether any two processes have the same work."""
        return self._detector.compares

    def add(self, step: int, measured: NDArray[np.int64]) -> list[str]:
        """Take what `StepMeter`s have measured in a step; return what is new, in sentences."""
        if not measured.size or not measured[:, 0].all():
            return []  # The first step of a start.
        new = self._detector.add(step, measured[:, 0] / 1e6, measured[:, 1] / 1e6)
        current = self._detector.current
        over = [report for report in self.reports if report.rank not in current]
        if not new and not over:
            return []
        time = datetime.now(UTC)
        before = (report for report in self.reports if report.rank in current)
        self.reports = (*before, *(self._report(straggler, time) for straggler in new))[:MAX_STRAGGLERS]
        return [
            *self._slow(new),
            *(f"step {step}: rank {report.rank} is as fast as the others again" for report in over),
        ]

    def _report(self, straggler: Straggler, time: datetime) -> StragglerReport:
        return StragglerReport(
            rank=straggler.rank,
            node_rank=straggler.rank // self._each,
            part=straggler.part,
            seconds=round(straggler.seconds, 6),
            usual_seconds=round(straggler.usual, 6),
            ratio=round(straggler.ratio, 3),
            steps=straggler.steps,
            step=straggler.step,
            time=time,
        )

    def _slow(self, new: Sequence[Straggler]) -> Iterator[str]:
        """Yield a sentence for each node with news: of the node where all of its processes are slow."""
        for node in sorted({straggler.rank // self._each for straggler in new}):
            ranks = [rank for rank in self._detector.current if rank // self._each == node]
            worst = max((s for s in new if s.rank // self._each == node), key=lambda straggler: straggler.ratio)
            who = f"rank {worst.rank} on node {node} is"
            if len(ranks) == self._each > 1:
                who = f"all {self._each} ranks of node {node} are"
            elif len(ranks) > 1:
                who = f"ranks {', '.join(map(str, sorted(ranks)))} on node {node} are"
            yield sentence(worst, who, node)


def sentence(straggler: Straggler, who: str, node: int) -> str:
    """Return what is said of a straggler, with the evidence and what to do."""
    cause = "waits for its batch" if straggler.part == "data" else "its own work"
    look = f"Look at the storage that node {node} reads from, and at data.num_workers."
    if straggler.part == "work":
        look = f"Look at node {node}: clocks, temperature, other programs."
    return (
        f"step {straggler.step}: {who} slow, and all others wait: {straggler.ratio:.2f} x the time of those with the "
        f"same work. A step takes it {1000 * straggler.seconds:.0f} ms without its waits for others, most of the "
        f"difference in {cause}, and the others {1000 * straggler.usual:.0f} ms (median of {straggler.steps} steps). "
        f"{look}"
    )


def work_groups(topology: Topology, experts: int) -> Sequence[tuple[int, int, int]]:
    """Return of each rank what work it has: its stage of the pipeline, its part of the sequence, its experts.

    `rank = tp + TP * (cp + CP * (dp + DP * pp))` (B-6), and dp = ep + EP * rest.
    """
    tensor, context, data = topology.tensor_parallel, topology.context_parallel, topology.data_parallel
    return [
        (rank // (tensor * context * data), rank // tensor % context, rank // (tensor * context) % data % experts)
        for rank in range(topology.world_size)
    ]
