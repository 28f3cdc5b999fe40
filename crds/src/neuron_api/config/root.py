"""The whole configuration: the top level of an NxDT file."""

from typing import Annotated, Literal

from pydantic import Field

from .alignment import AlignmentConfig
from .data import DataConfig
from .exp_manager import ExpManagerConfig
from .markers import NEURON_ONLY, NO_COMPILER
from .model import ModelConfig
from .moe import FusionsConfig
from .section import Count, Flag, Section
from .strategy import DistributedStrategyConfig, PrecisionConfig
from .trainer import TrainerConfig


class TrainingConfig(Section):
    """A NeuronX Distributed Training configuration, key for key."""

    name: str = Field(min_length=1, max_length=253)
    """Name of the experiment: label of the pods, default of exp_manager.name. Letters, digits and . _ - are kept in
    paths. Required."""

    model_source: Literal["hf", "megatron"]
    """Model family and data module. hf: Llama, Mistral or Mixtral from a Hugging Face config.json; megatron: the
    architecture is written in the model section. Required."""

    seed: Count = Field(ge=1)
    """Seed of weights, dropout and data order; greater than 0. The same seed and topology give the same losses.
    Required."""

    trainer: TrainerConfig
    """Processes, steps, validation: arguments of Lightning's Trainer. Required."""

    exp_manager: ExpManagerConfig = ExpManagerConfig()
    """Directories, checkpoints, logging, resume."""

    distributed_strategy: DistributedStrategyConfig = DistributedStrategyConfig()
    """How the model is split over the processes."""

    data: DataConfig
    """Data set and batch sizes. Required."""

    model: ModelConfig
    """Architecture and optimizer. Required."""

    precision: PrecisionConfig = PrecisionConfig()
    """Data types. Default: type mixed_precision, what every pre-training file of upstream uses."""

    model_alignment_strategy: AlignmentConfig | None = None
    """Fine-tuning: one of sft, dpo and orpo, and peft beside it. Default null: pre-training."""

    compiler_flags: Annotated[str, NEURON_ONLY] = ""
    """Appended to NEURON_CC_FLAGS, before the flags that the precision type adds. Default: none."""

    compiler_cache_url: Annotated[str | None, NO_COMPILER] = None
    """Where compiled graphs are kept, for restarts and for other runs that need the same (spec.compilePolicy); also
    NEURON_COMPILE_CACHE_URL. A path (on a mounted volume: a warning tells where it is lost with the pod) or, for
    neuronx-cc alone, s3://bucket/prefix. Default null: a folder of the log directory."""

    aync_exec_max_inflight_requests: Count | None = Field(default=None, ge=0)
    """Depth of the Neuron runtime's execution queue (NEURON_RT_ASYNC_EXEC_MAX_INFLIGHT_REQUESTS), and steps whose loss
    has not been read back; 0 is synchronous. Metrics come so much later and do not change. Spelled as in the document.
    Default null: the runtime's queue, and 1 step (0 on a CPU)."""

    async_exec_max_inflight_requests: Count | None = Field(default=None, ge=0)
    """The same as aync_exec_max_inflight_requests, spelled correctly; give one of the two. Default null."""

    bucket_size_collectives: Count | None = Field(default=None, ge=1)
    """Megabytes that gradient collectives are batched into; reduce-scatter and all-gather buckets are capped at 130
    on Neuron (above 140 they give NaN), all of them at 65 on Trn1. Default null: the framework's sizes."""

    neuron_rt_exec_timeout: Count | None = Field(default=None, ge=1)
    """Seconds after which an execution or a collective that does not end is fatal (NEURON_RT_EXEC_TIMEOUT). Default
    null: the runtime's 30."""

    neuron_experimental_compress_rg: Annotated[Flag | None, NEURON_ONLY] = None
    """Collectives name only the groups of this process (NEURON_EXPERIMENTAL_COMPRESS_RG); numbers do not change.
    Default null: not set."""

    fusions: FusionsConfig | None = None
    """Accepted in place of model.fusions, with a warning: a snippet of upstream's tutorial has it here."""
