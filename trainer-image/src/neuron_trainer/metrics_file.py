"""`metrics.jsonl`: one line per logged step, always in order, whatever happened in between."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from .handoff import replace


@dataclass(frozen=True, slots=True)
class StepMetrics:
    """What is known of a finished step; `step` counts from 1, `lr` is the rate that was used in it."""

    step: int
    loss: float
    lr: float
    gradient_norm: float
    consumed_samples: int
    tokens_per_second: float
    time: float
    """Unix time when it was finished."""
    parameter_norm: float | None = None


class MetricsFile:
    """Appended by global rank 0 only."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, metrics: StepMetrics) -> None:
        """One write of one line, so that a reader never sees half of one."""
        line = json.dumps({k: v for k, v in asdict(metrics).items() if v is not None})
        with self.path.open("a") as file:
            file.write(line + "\n")

    def last_step(self) -> int:
        """The newest step in the file; 0 when there is none."""
        return max((step for step, _ in self._lines()), default=0)

    def drop_after(self, step: int) -> None:
        """Remove lines of steps that will be done again, and a torn last line, atomically."""
        if self.path.exists():
            kept = [line for number, line in self._lines() if number <= step]
            replace(self.path, "".join(f"{line}\n" for line in kept))

    def _lines(self) -> list[tuple[int, str]]:
        if not self.path.exists():
            return []
        found = []
        for line in self.path.read_text().splitlines():
            try:
                found.append((int(json.loads(line)["step"]), line))
            except (ValueError, KeyError, TypeError):
                continue  # the process died in the middle of the write
        return found
