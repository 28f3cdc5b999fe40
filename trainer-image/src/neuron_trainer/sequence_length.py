"""Fine-tuning runs the model at the length of its records: `data.seq_length`, written into the configuration (A6)."""

from typing import Any

from neuron_api.config import TrainingConfig
from neuron_api.derive import alignment


def applied(config: TrainingConfig) -> TrainingConfig:
    """The configuration itself for pre-training. A Megatron model keeps as many positions as it had."""
    length = alignment.sequence_length(config, alignment.strategy(config))
    if length == config.model.encoder_seq_length:
        return config
    model: dict[str, Any] = {"encoder_seq_length": length}
    if config.model_source == "megatron" and config.model.max_position_embeddings is None:
        model["max_position_embeddings"] = config.model.encoder_seq_length
    return config.model_copy(update={"model": config.model.model_copy(update=model)})
