"""Curves of growth as pictures for docs/performance.md."""

import math
from pathlib import Path

from matplotlib.figure import Figure

FOLDER = Path(__file__).parents[2] / "docs" / "images"


def draw(what: str, of_loops: dict[str, dict[int, float]]) -> None:
    """Time of a step over what grows, both axes logarithmic."""
    figure = Figure(figsize=(5, 3.4), layout="constrained")
    axes = figure.subplots()
    for name, values in of_loops.items():
        axes.plot(list(values), [value * 1e3 for value in values.values()], "o-", label=name)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel(what)
    axes.set_ylabel("ms a step")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.savefig(FOLDER / f"trainer-{what}.svg")


def slope(values: dict[int, float]) -> float:
    """Least squares through the logarithms: 1 is in proportion."""
    points = [(math.log(size), math.log(value)) for size, value in values.items()]
    across, up = (sum(column) / len(points) for column in zip(*points, strict=True))
    return sum((x - across) * (y - up) for x, y in points) / sum((x - across) ** 2 for x, _ in points)
