"""The metrics of a run, step by step: an iterator, and a data frame for those who have pandas."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .errors import RequestError


@dataclass(frozen=True, slots=True)
class MetricsRow:
    """A logged step."""

    step: int
    """Number of the optimizer step, from 1."""
    loss: float
    learning_rate: float | None = None
    gradient_norm: float | None = None
    tokens_per_second: float | None = None
    mfu: float | None = None
    """Model FLOPs utilization, 0 to 1; None where the device's peak is not known."""
    time: datetime | None = None
    """When it was finished, or written to the log."""
    values: Mapping[str, float] = field(default_factory=dict)
    """Of the objective, by name: the rewards of DPO and ORPO."""

    def to_dict(self) -> dict[str, Any]:
        """Return one flat mapping: `values` beside the others."""
        names = ("step", "loss", "learning_rate", "gradient_norm", "tokens_per_second", "mfu", "time")
        return {**{name: getattr(self, name) for name in names}, **self.values}


class Metrics(Iterator[MetricsRow]):
    """Rows in the order in which they were logged; it can be read once, as any iterator."""

    def __init__(self, rows: Iterable[MetricsRow]) -> None:
        self._rows = iter(rows)

    def __next__(self) -> MetricsRow:
        """Return the next row; with `follow` it waits for one."""
        return next(self._rows)

    def to_pandas(self) -> Any:
        """Return the rows that remain as a data frame with the step as its index."""
        try:
            import pandas
        except ImportError:
            raise RequestError("to_pandas needs pandas: pip install pandas, or iterate over the rows") from None
        rows = [row.to_dict() for row in self]
        return pandas.DataFrame(rows, columns=None if rows else ["step", "loss"]).set_index("step")
