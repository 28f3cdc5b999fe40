"""What this backend cannot split yet, told before any process starts; by the modules that a model has."""

from collections.abc import Iterator

from torch import nn

from neuron_api.config import TrainingConfig
from neuron_api.findings import Finding
from neuron_api.registry import found
from neuron_trainer.models.blocks.attention import CoreAttention
from neuron_trainer.models.blocks.moe import MoE
from neuron_trainer.models.family import Family

_CONTEXT = "distributed_strategy.context_parallel_size"
_PIPELINE = "distributed_strategy.pipeline_model_parallel_size"


def check(config: TrainingConfig, family: Family) -> Iterator[Finding]:
    """What context and pipeline parallelism do not know of."""
    module = family.on_meta()
    if config.distributed_strategy.context_parallel_size > 1:
        yield from _context(config, module)
    if config.distributed_strategy.pipeline_model_parallel_size > 1:
        yield from _pipeline(config, module)


def _context(config: TrainingConfig, module: nn.Module) -> Iterator[Finding]:
    size = config.distributed_strategy.context_parallel_size
    attentions = [child for child in module.modules() if isinstance(child, CoreAttention)]
    if any(one.window is not None and one.window < config.model.encoder_seq_length for one in attentions):
        yield found(4001, _CONTEXT, f"{size} with a sliding window is not supported by this release.", "Use 1.")
    if any(one.dropout.probability for one in attentions):
        yield found(4001, _CONTEXT, f"{size} with dropout in attention is not supported by this release.", "Use 1.")
    if any(isinstance(child, MoE) for child in module.modules()):
        yield found(4001, _CONTEXT, f"{size} with experts is not supported by this release.", "Use 1.")


def _pipeline(config: TrainingConfig, module: nn.Module) -> Iterator[Finding]:
    size = config.distributed_strategy.pipeline_model_parallel_size
    if any(isinstance(child, MoE) for child in module.modules()):
        yield found(4001, _PIPELINE, f"{size} with experts is not supported by this release.", "Use 1.")
    if len(list(module.parameters())) < len(list(module.named_parameters(remove_duplicate=False))):
        yield found(
            4001,
            _PIPELINE,
            f"{size} with one weight for embedding and head is not supported by this release.",
            "Use 1.",
        )
