"""Values of a step that lie far above the usual: told once each, with the step and the samples that it read.

The usual is the median of the newest steps, and how far it is from there is counted in median deviations, so that
neither a spike nor a trend moves what it is compared with.
"""

import math
from collections import deque
from dataclasses import dataclass
from statistics import median
from typing import Final

WINDOW: Final = 64
"""Steps that say what is usual."""
MIN_STEPS: Final = 20
"""Steps after which something can be unusual."""
_DEVIATIONS: Final = 15.0
_OF_NORMAL: Final = 1.4826
"""Standard deviations in a median deviation, of normally distributed values."""


@dataclass(frozen=True, slots=True)
class Spike:
    """An unusual value."""

    value: float
    usual: float
    """Median of the steps before it."""


class SpikeDetector:
    """Watches one quantity; `least_rise` is the rise over the usual, as a part of it, below which nothing is told."""

    def __init__(self, least_rise: float) -> None:
        self._least_rise = least_rise
        self._newest: deque[float] = deque(maxlen=WINDOW)
        self._is_told = False

    def add(self, value: float) -> Spike | None:
        """Take the value of a step; return it as a spike where it is one, and the first of its kind in a row."""
        if not math.isfinite(value):
            return None  # That is told elsewhere, and is no number to compare with.
        spike = self._spike(value)
        self._newest.append(value)
        is_new = spike is not None and not self._is_told
        self._is_told = spike is not None
        return spike if is_new else None

    def _spike(self, value: float) -> Spike | None:
        if len(self._newest) < MIN_STEPS:
            return None
        usual = median(self._newest)
        deviation = median(abs(other - usual) for other in self._newest)
        least = max(_DEVIATIONS * _OF_NORMAL * deviation, self._least_rise * abs(usual))
        return Spike(value, usual) if value - usual > least else None


class StepSpikes:
    """Watches loss and gradient norm of the steps of a start."""

    def __init__(self, global_batch: int) -> None:
        self._global_batch = global_batch
        self._detectors = {"loss": SpikeDetector(0.25), "gradient norm": SpikeDetector(2.0)}
        self.counts: dict[str, int] = {}
        """How many there were, by quantity; empty before the first."""

    def sentences(self, step: int, consumed_samples: int, loss: float, gradient_norm: float) -> list[str]:
        """Return what is unusual about a step."""
        values = {"loss": loss, "gradient norm": gradient_norm}
        spikes = {name: spike for name, value in values.items() if (spike := self._detectors[name].add(value))}
        for name in spikes:
            self.counts[name] = self.counts.get(name, 0) + 1
        first, last = consumed_samples - self._global_batch, consumed_samples - 1
        return [
            f"step {step}: the {name} is {spike.value:.4g}, and {spike.usual:.4g} was usual in the steps before. Look "
            f"at samples {first} to {last} of the data, or lower model.optim.lr."
            for name, spike in spikes.items()
        ]
