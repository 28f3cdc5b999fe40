"""`distributed_strategy`: how the model and its optimizer are split over the processes."""

from pydantic import Field

from .section import Flag, Section


class DistributedStrategyConfig(Section):
    """Sizes of the parallel dimensions; data parallel = world / (tensor * pipeline * context)."""

    tensor_model_parallel_size: int = Field(default=1, ge=1)
    """Processes that share the attention heads, MLP width and vocabulary of a layer. Default 1."""

    pipeline_model_parallel_size: int = Field(default=1, ge=1)
    """Stages that the layers are split into. Default 1."""

    virtual_pipeline_model_parallel_size: int | None = Field(default=1, ge=1)
    """Model chunks per pipeline stage (interleaved schedule). Default 1."""

    context_parallel_size: int = Field(default=1, ge=1)
    """Chunks that each sequence is split into. Default 1."""

    zero1: Flag = False
    """Shard the optimizer state over the data-parallel processes. Default False."""

    sequence_parallel: Flag = False
    """Shard the activations between tensor-parallel blocks along the sequence. Default False."""

    kv_replicator: int | None = Field(default=None, ge=1)
    """Copies of each key/value head, so that tensor_model_parallel_size may exceed their number. Default: as many as
    needed."""
