"""How a number grows with the nodes: the slope of the logarithms, and the table of all."""

import math
from collections.abc import Mapping
from typing import Final

BAR: Final = 1.1
"""The slope that a number of requests may have: 1 is linear, 2 the square."""


def slope(values: Mapping[int, float]) -> float | None:
    """Return the slope of the logarithms by least squares; None with fewer than two sizes, or a value of 0."""
    if len(values) < 2 or min(values.values()) <= 0:
        return None
    points = [(math.log(size), math.log(value)) for size, value in values.items()]
    mean_x, mean_y = (sum(column) / len(points) for column in zip(*points, strict=True))
    above = sum((x - mean_x) * (y - mean_y) for x, y in points)
    return above / sum((x - mean_x) ** 2 for x, _ in points)


def table(results: Mapping[str, Mapping[int, Mapping[str, float]]]) -> list[str]:
    """Return the lines of a Markdown table: a row for each number of each kind."""
    sizes = sorted({size for kind in results.values() for size in kind})
    lines = ["| | " + " | ".join(f"{size}" for size in sizes) + " | slope |", "|---|" + "---|" * (len(sizes) + 1)]
    for kind, measured in results.items():
        for name in next(iter(measured.values()), {}):
            values = {size: numbers[name] for size, numbers in measured.items() if name in numbers}
            cells = [f"{values[size]:.3g}" if size in values else "" for size in sizes]
            steep = slope(values)
            lines.append(f"| {kind}, {name} | " + " | ".join(cells) + f" | {'' if steep is None else f'{steep:.2f}'} |")
    return lines
