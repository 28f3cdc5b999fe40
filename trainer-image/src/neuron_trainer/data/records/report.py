"""What became of the records of a file: how many there are, were truncated or dropped, and where the first is."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

WARNINGS: Final[Mapping[str, str]] = {
    "dropped": "{count} of {records} records are dropped: no token of their answer fits into {length} tokens",
    "empty_answers": "{count} of {records} records have an empty answer: the end of the text is all that is learned",
    "identical_pairs": "{count} of {records} pairs have the same tokens for chosen and rejected",
}
"""Counts that a user should know of, and how they are worded."""


@dataclass(slots=True)
class Report:
    """Counts by kind, each with the place of its first record; and notes on how the file was read."""

    length: int
    """Tokens of a row."""
    counts: dict[str, int] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, kind: str, place: str) -> None:
        """Count a record of a kind; `place` is where the file has it."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.first.setdefault(kind, place)

    def has_all(self, kind: str) -> bool:
        """Return whether all records are of a kind."""
        return self.counts.get(kind, 0) == self.counts["records"]

    def summary(self) -> str:
        """Return the counts in one sentence."""
        records, samples, truncated, dropped = (
            self.counts.get(name, 0) for name in ("records", "samples", "truncated", "dropped")
        )
        return (
            f"{records} records are {samples} samples of {self.length} tokens; {truncated} truncated, {dropped} dropped"
        )

    def warnings(self) -> list[str]:
        """Return a sentence for each thing that a user should know."""
        records = self.counts.get("records", 0)
        counted = [
            f"{text.format(count=count, records=records, length=self.length)} (first: {self.first[kind]})"
            for kind, text in WARNINGS.items()
            if (count := self.counts.get(kind, 0))
        ]
        return [*self.notes, *counted]

    def to_array(self) -> NDArray[np.uint8]:
        """Return it as bytes, for the cache."""
        return np.frombuffer(json.dumps(asdict(self)).encode(), dtype=np.uint8)

    @classmethod
    def from_array(cls, array: NDArray[Any]) -> "Report":
        """Return what `to_array` made."""
        return cls(**json.loads(array.tobytes()))
