"""Share of the devices' peak that a run reaches (`mfu`, B-14), where the peak is known."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass

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
