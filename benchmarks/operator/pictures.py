"""Cost per unit against size, on doubly logarithmic paper, with the slope of the line through the points."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from results import Results, slope


def draw(
    results: Results, folder: Path, name: str, title: str, unit: str, points: dict[str, Sequence[tuple[float, str]]]
) -> None:
    """`points`: subject to (size, case); the median of each case, and its band."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5.2, 3.4))
    for who, cases in points.items():
        found = [(size, results.values(case, who)) for size, case in cases if results.values(case, who)]
        if len(found) < 2:
            continue
        sizes = [size for size, _ in found]
        middle = [statistics.median(values) for _, values in found]
        steep = slope([(size, value) for size, value in zip(sizes, middle, strict=True)])
        axes.plot(sizes, middle, marker="o", label=f"{who} (slope {steep:.2f})")
        axes.fill_between(sizes, [min(v) for _, v in found], [max(v) for _, v in found], alpha=0.2)
        results.say(
            case=f"curve {name} {who}",
            slope=round(steep, 3),
            sizes=sizes,
            medians=[round(one, 4) for one in middle],
            bar=1.05,
        )
    axes.set(xscale="log", yscale="log", title=title, xlabel=name, ylabel=unit)
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    figure.tight_layout()
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"operator-{name}.svg", metadata={"Date": None})
    pyplot.close(figure)
