"""`precision`: the data types of weights, gradients, masters and optimizer state."""

from typing import Literal

from .section import Section, UntypedFlag

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
    """Only with manual: fp32 tensors are bf16 on the device (XLA_USE_BF16). Default 0."""

    xla_downcast_bf16: UntypedFlag = False
    """Only with manual: fp32 becomes bf16 and fp64 becomes fp32 on the device (XLA_DOWNCAST_BF16). Default 0."""

    neuron_rt_stochastic_rounding_en: UntypedFlag = False
    """Only with manual: round fp32 to bf16 up or down at random, in proportion (NEURON_RT_STOCHASTIC_ROUNDING_EN).
    Default 0."""

    parallel_layers_reduce_dtype: Literal["bf16", "fp32"] | None = None
    """Data type of the sums inside tensor-parallel layers. Default null: bf16, also with manual and no bf16 flag; fp32
    with type fp32."""
