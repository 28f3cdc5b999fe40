"""A curve of a bounded length, however long the run: what a page draws, kept while the run's lines are read.

Lines come in the order of their steps. Neighbours are gathered in stretches of the same length; of each the least and
the greatest value are kept, so that no spike is lost. When there are too many stretches, two become one.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

MAX_POINTS: Final = 1_200
"""Points of a curve: more than a screen has columns for."""

T = TypeVar("T")


@dataclass(slots=True)
class _Stretch(Generic[T]):
    """Neighbouring lines."""

    count: int
    lines: list[T]
    """Those with the least and the greatest value, by step; one where that is the same one."""


class ThinnedSeries(Generic[T]):
    """At most `2 * points` of all lines that were added."""

    def __init__(self, step: Callable[[T], int], value: Callable[[T], float], points: int = MAX_POINTS) -> None:
        """`value`: by which lines are chosen; one that is not finite is the greatest."""
        self._step, self._value, self._points = step, value, points
        self._stretches: list[_Stretch[T]] = []
        self._size = 1
        """Lines in a stretch."""
        self.last: T | None = None
        """The newest line."""

    @property
    def count(self) -> int:
        """Return how many lines there were."""
        return sum(stretch.count for stretch in self._stretches)

    def add(self, line: T) -> None:
        """Add a line. One that goes back takes the place of those from its step on: it was done again."""
        if self.last is not None and self._step(line) <= self._step(self.last):
            self._cut(self._step(line))
        self.last = line
        if self._stretches and self._stretches[-1].count < self._size:
            stretch = self._stretches[-1]
            stretch.count, stretch.lines = stretch.count + 1, self._extremes([*stretch.lines, line])
            return
        self._stretches.append(_Stretch(1, [line]))
        if len(self._stretches) > self._points:
            self._merge()

    def lines(self) -> list[T]:
        """Return at most `points` lines, the newest among them."""
        lines = [line for stretch in self._stretches for line in stretch.lines]
        if self.last is not None and lines[-1] is not self.last:
            lines.append(self.last)
        return list(self._thinned(lines))

    def _thinned(self, lines: Sequence[T]) -> Sequence[T]:
        if len(lines) <= self._points:
            return lines
        size = -(-len(lines) // max(1, (self._points - 1) // 2))
        chosen = [line for begin in range(0, len(lines), size) for line in self._extremes(lines[begin : begin + size])]
        return chosen if chosen[-1] is lines[-1] else [*chosen, lines[-1]]

    def _merge(self) -> None:
        self._size *= 2
        pairs = (self._stretches[begin : begin + 2] for begin in range(0, len(self._stretches), 2))
        self._stretches = [
            _Stretch(
                sum(stretch.count for stretch in pair),
                self._extremes([line for stretch in pair for line in stretch.lines]),
            )
            for pair in pairs
        ]

    def _cut(self, step: int) -> None:
        """Remove the lines from a step on. Of a stretch that is cut, as many count as were kept."""
        while self._stretches and self._step(self._stretches[-1].lines[-1]) >= step:
            stretch = self._stretches[-1]
            stretch.lines = [line for line in stretch.lines if self._step(line) < step]
            stretch.count = len(stretch.lines)
            if stretch.lines:
                break
            self._stretches.pop()
        self.last = self._stretches[-1].lines[-1] if self._stretches else None

    def _extremes(self, lines: Sequence[T]) -> list[T]:
        least, greatest = min(lines, key=self._order), max(reversed(lines), key=self._order)
        if least is greatest:
            return [least]
        return sorted((least, greatest), key=self._step)

    def _order(self, line: T) -> float:
        value = self._value(line)
        return value if math.isfinite(value) else math.inf
