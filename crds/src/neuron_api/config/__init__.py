"""The typed configuration: one module per section of the document, `TrainingConfig` at the root."""

from .data import DataConfig
from .exp_manager import CheckpointCallbackParams, ExpManagerConfig
from .model import FusionsConfig, ModelConfig, OptimConfig, SchedulerConfig
from .precision import PrecisionConfig
from .root import TrainingConfig
from .strategy import DistributedStrategyConfig
from .trainer import TrainerConfig

__all__ = [
    "CheckpointCallbackParams",
    "DataConfig",
    "DistributedStrategyConfig",
    "ExpManagerConfig",
    "FusionsConfig",
    "ModelConfig",
    "OptimConfig",
    "PrecisionConfig",
    "SchedulerConfig",
    "TrainerConfig",
    "TrainingConfig",
]
