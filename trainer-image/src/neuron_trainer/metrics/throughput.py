"""How fast a run is: tokens per second over the last steps (B-14), and the mean time of what is done several times; and
the share of the devices' peak that a run reaches (`mfu`, B-14), where the peak is known.
"""

import logging
import os
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from neuron_api import contract
from neuron_api.config import TrainingConfig
from neuron_api.derive import adapters, alignment, parameters
from neuron_trainer.models.family import Family

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Utilization:
    """Of one run."""

    flops_per_token: float
    """See `neuron_api.derive.parameters`."""
    peak: float
    """FLOP/s of all processes."""

    @classmethod
    def from_config(
        cls,
        config: TrainingConfig,
        vocabulary: int | None,
        processes: int,
        environ: Mapping[str, str] = os.environ,
    ) -> "Utilization | None":
        """Return None where the peak of a process's device or the model's sizes are not known."""
        text = environ.get(contract.ENV_PEAK_FLOPS)
        if text is None:
            return None
        try:
            peak = float(text)
        except ValueError:
            peak = 0.0
        if not 0 < peak < float("inf"):
            log.warning("%s is %r, not FLOP/s of a process's device: there is no mfu", contract.ENV_PEAK_FLOPS, text)
            return None
        model = Family.architecture(config, vocabulary)
        tensor = config.distributed_strategy.tensor_model_parallel_size
        if model is None:
            return None
        peft = alignment.adapters(config)
        trained = adapters.whole(model, peft).adapters if peft is not None else None
        each = parameters.flops_per_token(model, config.model.encoder_seq_length, tensor, trained)
        return cls(each, peak * processes) if each else None

    def at(self, tokens_per_second: float) -> float:
        """`mfu`, 0 to 1, at this rate of the whole run."""
        return round(tokens_per_second * self.flops_per_token / self.peak, 6)


_WINDOW: Final = 10
"""Steps that are averaged over."""


class Throughput:
    """Tokens per second of a run whose steps all have the same number of tokens."""

    def __init__(self, tokens: int) -> None:
        self._tokens = tokens
        self._ends: deque[float] = deque(maxlen=_WINDOW + 1)

    def begin(self) -> None:
        """Mark the beginning of the first step."""
        self._ends.append(time.monotonic())

    def step_done(self) -> float:
        """Mark the end of a step; return tokens per second since the beginning of the window."""
        self._ends.append(time.monotonic())
        seconds = self._ends[-1] - self._ends[0]
        return round(self._tokens * (len(self._ends) - 1) / seconds, 3) if seconds else 0.0


class Stopwatch:
    """The mean duration of an action that is done several times, between `start` and `stop`."""

    def __init__(self) -> None:
        self._started = self._total = 0.0
        self._count = 0

    def start(self) -> None:
        """Mark the beginning of the action."""
        self._started = time.monotonic()

    def stop(self) -> None:
        """Mark the end of the action."""
        self._total += time.monotonic() - self._started
        self._count += 1

    def mean(self) -> float:
        """Return the mean in seconds; 0 before the first end."""
        return self._total / self._count if self._count else 0.0
