"""The whole configuration: the top level of an NxDT file."""

from typing import Literal

from pydantic import Field

from .data import DataConfig
from .exp_manager import ExpManagerConfig
from .model import ModelConfig
from .precision import PrecisionConfig
from .section import Flag, Section
from .strategy import DistributedStrategyConfig
from .trainer import TrainerConfig


class TrainingConfig(Section):
    """A NeuronX Distributed Training configuration, key for key."""

    name: str = Field(min_length=1, max_length=253)
    """Name of the experiment: label of the pods, default of exp_manager.name. Required."""

    model_source: Literal["hf", "megatron"]
    """Model family: hf builds the model from a Hugging Face config.json. Required."""

    seed: int = Field(ge=1)
    """Seed of weights, dropout and data order. Required, greater than 0."""

    trainer: TrainerConfig
    """Processes, steps, validation. Required."""

    exp_manager: ExpManagerConfig = ExpManagerConfig()
    """Directories, checkpoints, logging, resume."""

    distributed_strategy: DistributedStrategyConfig = DistributedStrategyConfig()
    """How the model is split over the processes."""

    data: DataConfig
    """Data set and batch sizes. Required."""

    model: ModelConfig
    """Architecture and optimizer. Required."""

    precision: PrecisionConfig = PrecisionConfig()
    """Data types."""

    compiler_flags: str = ""
    """Appended to NEURON_CC_FLAGS."""

    compiler_cache_url: str | None = None
    """NEURON_COMPILE_CACHE_URL: where compiled graphs are kept between runs; a path or s3://bucket/prefix."""

    aync_exec_max_inflight_requests: int | None = Field(default=None, ge=0)
    """Depth of the Neuron runtime's execution queue (NEURON_RT_ASYNC_EXEC_MAX_INFLIGHT_REQUESTS); 0 is synchronous."""

    async_exec_max_inflight_requests: int | None = Field(default=None, ge=0)
    """The same as aync_exec_max_inflight_requests, spelled correctly; give one of the two."""

    bucket_size_collectives: int | None = Field(default=None, ge=1)
    """Megabytes that gradient collectives are batched into."""

    neuron_rt_exec_timeout: int | None = Field(default=None, ge=1)
    """Seconds after which an execution or a collective that does not end is fatal."""

    neuron_experimental_compress_rg: Flag | None = None
    """Collectives name only the groups of this process."""
