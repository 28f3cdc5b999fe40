"""`distributed_strategy` and `precision`: how the model is split, and in which types it computes."""

from typing import Annotated, Literal

from pydantic import Field

from .markers import NotSupported
from .section import Count, Flag, ReplicaCount, Section, UntypedFlag


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


PrecisionType = Literal[
    "mixed_precision", "mixed_precisionSR", "mixed_precision_SR", "bf16SR", "fp32", "autocast", "manual"
]


class PrecisionConfig(Section):
    """The type sets everything; the other keys count only when it is manual."""

    type: PrecisionType = "mixed_precision"
    """mixed_precision: bf16 compute with fp32 masters; mixed_precisionSR (also mixed_precision_SR): the same with
    stochastic rounding; bf16SR: all bf16; fp32: all fp32; autocast: bf16 inside autocast; manual: the keys below.
    Default mixed_precision."""

    master_weights: UntypedFlag = False
    """Only with manual: keep fp32 copies of the weights in the optimizer. Default False."""

    fp32_grad_acc: UntypedFlag = False
    """Only with manual: accumulate gradients of micro-batches in fp32. Default False."""

    fp32_grads_cc: UntypedFlag = False
    """Only with manual: reduce gradients in fp32, which sums them over micro-batches in fp32, too. Default False; mixed
    types always do."""

    xla_use_bf16: UntypedFlag = False
    """Only with manual: compute in bf16, as with NxDT's variable XLA_USE_BF16, which is not set. Default 0."""

    xla_downcast_bf16: UntypedFlag = False
    """Only with manual: compute in bf16, as with NxDT's variable XLA_DOWNCAST_BF16, which is not set. Default 0."""

    neuron_rt_stochastic_rounding_en: UntypedFlag = False
    """Only with manual: round fp32 to bf16 up or down at random, in proportion (NEURON_RT_STOCHASTIC_ROUNDING_EN).
    Default 0."""

    parallel_layers_reduce_dtype: Literal["bf16", "fp32"] | None = None
    """Data type of the sums inside tensor-parallel layers. Default null: bf16, also with manual and no bf16 flag; fp32
    with type fp32."""
