"""`data.splits_string`: which documents are for training, validation and test."""

import re
from typing import Final

PARTS: Final = ("train", "validation", "test")


def parse(text: str) -> tuple[float, float, float]:
    """Proportions that add up to 1 from `980,10,10`, `980/10/10` or `980`."""
    numbers = [float(number) for number in re.split(r"[,/]", text)]
    total = sum(numbers)
    first, second, third = [number / total for number in numbers] + [0.0] * (len(PARTS) - len(numbers))
    return first, second, third


def bounds(text: str, documents: int) -> dict[str, range]:
    """Of each part; the cumulative proportions are rounded (half to even), so that parts meet and end at the end."""
    found, done = {}, 0.0
    for part, share in zip(PARTS, parse(text), strict=True):
        found[part] = range(round(done * documents), round((done + share) * documents))
        done += share
    return found
