"""What a run says: one JSON line per case, with the band of its rounds and what else the machine was doing."""

from __future__ import annotations

import json
import os
import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MOST_DRIFT = 1.5
"""A run whose bare client took so many times longer in one round than in another says nothing."""


class Results:
    """Values by case and subject, in the order of the rounds."""

    def __init__(self, versions: dict[str, str], out: Path | None) -> None:
        self._versions, self._out = versions, out
        self._values: dict[tuple[str, str], list[float]] = defaultdict(list)
        self.lines: list[dict[str, Any]] = []

    def add(self, case: str, who: str, value: float) -> None:
        """One round's value."""
        self._values[case, who].append(value)

    def values(self, case: str, who: str) -> list[float]:
        """Of all rounds."""
        return self._values[case, who]

    def drift(self, case: str) -> float:
        """How far the bare client moved between rounds."""
        values = self._values[case, "floor"]
        return max(values) / min(values) if values else 1.0

    def compare(self, case: str, who: str, other: str, bar: float | None, unit: str) -> None:
        """One subject against another, round by round."""
        ours, others = self._values[case, who], self._values[case, other]
        if not ours or not others:
            return
        ratios = [one / two for one, two in zip(ours, others, strict=False)]
        if len(ours) != len(others):  # no rounds in turns: the medians alone say something
            ratios = [statistics.median(ours) / statistics.median(others)]
        self.say(
            case=f"{case} {who}/{other}",
            **{who: _short(statistics.median(ours)), other: _short(statistics.median(others))},
            unit=unit,
            ratio=_short(statistics.median(ratios)),
            band=[_short(min(ratios)), _short(max(ratios))],
            bar=bar,
            met=None if bar is None else statistics.median(ratios) <= bar,
            rounds=len(ratios),
        )

    def tell(self, case: str, who: str, unit: str, bar: float | None = None) -> None:
        """One subject's own values."""
        values = self._values[case, who]
        if values:
            middle = statistics.median(values)
            self.say(
                case=f"{case} {who}", value=_short(middle), band=[_short(min(values)), _short(max(values))], unit=unit,
                bar=bar, met=None if bar is None else middle <= bar, rounds=len(values),
            )  # fmt: skip

    def say(self, **line: Any) -> None:
        """Print a line and keep it."""
        line |= {"load": round(os.getloadavg()[0], 1), "versions": self._versions}
        self.lines.append(line)
        print(json.dumps(line), flush=True)
        if self._out is not None:
            with self._out.open("a") as file:
                file.write(json.dumps(line) + "\n")


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of a straight line through the points on doubly logarithmic paper, by least squares."""
    import numpy as np

    sizes, costs = zip(*points, strict=True)
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def _short(value: float) -> float:
    return float(f"{value:.4g}")
