"""Values of a step that lie far above the usual: reported once each, with the step and the samples that it read.

The usual is the median of the newest steps, and how far it is from there is counted in median deviations, so that
neither a spike nor a trend moves what it is compared with.
"""

import math
from collections import deque
from dataclasses import dataclass
from statistics import median
from typing import Final

from neuron_api.contract import MAX_SPIKES
from neuron_api.resource.progress import SpikeReport

WINDOW: Final = 64
"""Steps that say what is usual."""
MIN_STEPS: Final = 20
"""Steps after which something can be unusual."""
_INTERVAL: Final = 4
"""Steps after which the usual is looked at again."""
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
    """Watches one quantity. `least_rise`: the rise over the usual, as a part of it, that is worth a report."""

    def __init__(self, least_rise: float) -> None:
        self._least_rise = least_rise
        self._newest: deque[float] = deque(maxlen=WINDOW)
        self._count = 0
        self._usual = self._limit = math.inf
        """Median of the newest values, and what is a spike; known after the first steps."""
        self._is_reported = False

    def add(self, value: float) -> Spike | None:
        """Take the value of a step; return it as a spike where it is one, and the first of its kind in a row."""
        if not math.isfinite(value):
            return None  # That is reported elsewhere, and is no number to compare with.
        is_spike = value > self._limit
        is_new, self._is_reported = is_spike and not self._is_reported, is_spike
        spike = Spike(value, self._usual) if is_new else None
        self._newest.append(value)
        self._count += 1
        if self._count >= MIN_STEPS and self._count % _INTERVAL == 0:
            self._learn()
        return spike

    def _learn(self) -> None:
        self._usual = median(self._newest)
        deviation = median(abs(other - self._usual) for other in self._newest)
        rise = max(_DEVIATIONS * _OF_NORMAL * deviation, self._least_rise * abs(self._usual))
        self._limit = self._usual + rise


class StepSpikes:
    """Watches loss and gradient norm of the steps of a start."""

    def __init__(self, global_batch: int) -> None:
        self._global_batch = global_batch
        self._detectors = {"loss": SpikeDetector(0.25), "gradient norm": SpikeDetector(2.0)}
        self.counts: dict[str, int] = {}
        """How many there were, by quantity; empty before the first."""
        self.newest: tuple[SpikeReport, ...] = ()

    def sentences(self, step: int, consumed_samples: int, loss: float, gradient_norm: float) -> list[str]:
        """Return what is unusual about a step."""
        values = {"loss": loss, "gradient norm": gradient_norm}
        spikes = {name: spike for name, value in values.items() if (spike := self._detectors[name].add(value))}
        first, last = consumed_samples - self._global_batch, consumed_samples - 1
        for name, spike in spikes.items():
            self.counts[name] = self.counts.get(name, 0) + 1
            report = SpikeReport(
                step=step, quantity=name, value=spike.value, usual=spike.usual, first_sample=first, last_sample=last
            )
            self.newest = (*self.newest, report)[-MAX_SPIKES:]
        return [
            f"step {step}: the {name} is {spike.value:.4g}, and {spike.usual:.4g} was usual in the steps before. Look "
            f"at samples {first} to {last} in the order of training (that of shuffled data is another), or lower "
            "model.optim.lr."
            for name, spike in spikes.items()
        ]
