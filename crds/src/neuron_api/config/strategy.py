"""`distributed_strategy`: how the model and its optimizer are split over the processes."""

from typing import Annotated

from pydantic import Field

from .markers import NotSupported
from .section import Count, Flag, ReplicaCount, Section


class DistributedStrategyConfig(Section):
    """Sizes of the parallel dimensions; data parallel = world / (tensor * pipeline * context)."""

    tensor_model_parallel_size: Count = Field(default=1, ge=1)
    """Processes that share the attention heads, MLP width and vocabulary of a layer. Default 1: not split."""

    pipeline_model_parallel_size: Count = Field(default=1, ge=1)
    """Stages that the layers are split into. Default 1: not split."""

    virtual_pipeline_model_parallel_size: Count = Field(default=1, ge=1)
    """Model chunks per pipeline stage (interleaved schedule); more than 1 needs pipeline stages. Null means 1. Default
    1."""

    context_parallel_size: Count = Field(default=1, ge=1)
    """Chunks that each sequence is split into; more than 1 needs model.fusions.ring_attention. Default 1."""

    expert_model_parallel_size: Count = Field(default=1, ge=1)
    """Processes that share the experts of a mixture-of-experts layer, out of the data-parallel ones. Default 1."""

    token_shuffle_group_size: Count = Field(default=1, ge=1)
    """Data-parallel processes among which tokens are shuffled before they are routed to experts. Default 1: not
    shuffled."""

    zero1: Flag = False
    """Shard the optimizer state over the data-parallel processes. Default False: each has all of it."""

    sequence_parallel: Flag = False
    """Shard the activations between tensor-parallel blocks along the sequence. Default False."""

    kv_replicator: ReplicaCount | None = Field(default=None, ge=1)
    """Copies of each key/value head, so that tensor_model_parallel_size may exceed their number; True and False mean
    1. Default null: as many as needed."""

    pipeline_model_parallel_split_rank: Annotated[Count | None, NotSupported()] = None
    """Only null: encoder/decoder models are not supported."""
