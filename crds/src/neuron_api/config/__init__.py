"""The typed configuration: one module per section of the document, `TrainingConfig` at the root."""

from .alignment import AlignmentConfig, DpoConfig, OrpoConfig, PeftConfig, SftConfig
from .data import DataConfig, TokenizerConfig
from .exp_manager import CheckpointCallbackParams, ExpManagerConfig
from .model import ModelConfig
from .moe import FusionsConfig, MoeConfig
from .optim import OptimConfig, SchedulerConfig
from .root import TrainingConfig
from .strategy import DistributedStrategyConfig, PrecisionConfig
from .trainer import TrainerConfig

__all__ = [
    "AlignmentConfig",
    "CheckpointCallbackParams",
    "DataConfig",
    "DistributedStrategyConfig",
    "DpoConfig",
    "ExpManagerConfig",
    "FusionsConfig",
    "ModelConfig",
    "MoeConfig",
    "OptimConfig",
    "OrpoConfig",
    "PeftConfig",
    "PrecisionConfig",
    "SchedulerConfig",
    "SftConfig",
    "TokenizerConfig",
    "TrainerConfig",
    "TrainingConfig",
]
