"""`model.moe`: a mixture of experts in place of the MLP; `model.fusions`: fused kernels."""

from typing import Annotated, Final, Literal

from pydantic import Field

from .markers import NEURON_ONLY, NO_KERNEL, NoEffect
from .section import Count, Flag, Number, Section, Share

_SINKHORN: Final = NoEffect("tokens are routed by top_k", unless="model.moe.routing_algorithm")


class MoeConfig(Section):
    """Experts, and how tokens are routed to them."""

    num_experts: Count | None = Field(default=None, ge=1)
    """Number of experts. Default null: num_local_experts of config.json, else 1."""

    frequency: Count = Field(default=1, ge=1)
    """Every n-th layer has experts. Default 1: all."""

    dropout: Share = 0.0
    """Dropout on the output of the experts. Default 0."""

    capacity_factor: Number | None = Field(default=1.0, ge=0)
    """Tokens that an expert takes, as a multiple of an even share; more are dropped. null drops none, 0 goes with
    dropless. Default 1.0, upstream's."""

    dropless: Flag = False
    """Compute every token, whatever the load of its experts. Default False."""

    routing_algorithm: Literal["top_k", "sinkhorn"] = "top_k"
    """The router; sinkhorn needs top_k 1. Default top_k."""

    router_activation: Literal["sigmoid", "softmax"] | None = None
    """From router logits to scores. Default null: sigmoid for Megatron models, softmax for Hugging Face ones."""

    sinkhorn_iterations: Annotated[Count, _SINKHORN] = Field(default=30, ge=1)
    """Bound of sinkhorn's iterations. Default 30."""

    sinkhorn_tol: Annotated[Number | None, _SINKHORN] = Field(default=None, gt=0)
    """Change at which sinkhorn's iterations end. Default null: run them all."""

    top_k: Count = Field(default=1, ge=1)
    """Experts that a token goes to; at most num_experts. Default 1, upstream's."""

    output_router_logits: Flag = True
    """Compute the load-balancing loss. Default True."""

    router_aux_loss_coef: Number = Field(default=0.02, ge=0)
    """Weight of the load-balancing loss. Default 0.02, Mixtral's."""

    normalize_top_k_affinities: Flag = True
    """Divide the chosen scores by their sum; needs top_k above 1. Default True."""

    glu_mlp: Flag = True
    """Experts with a gate. Default True."""

    moe_dropout: Share = 0.0
    """Dropout inside the experts. Default 0."""


_RING: Final = NoEffect("the sequence is not split", unless="distributed_strategy.context_parallel_size")


class FusionsConfig(Section):
    """Fused kernels; none of them changes the numbers."""

    softmax: Annotated[Flag, NEURON_ONLY] = False
    """Use the fused softmax (NEURON_FUSE_SOFTMAX). Default False, as where the key is absent upstream."""

    flash_attention: Annotated[Flag, NO_KERNEL] = False
    """Attention without the score matrix in memory; not together with ring_attention. On Trn1 it is the kernel of
    neuronx-distributed, for samples of a multiple of 2048 tokens. Default False."""

    ring_attention: Annotated[Flag, _RING] = False
    """Attention over a split sequence by passing keys and values around; needed when context_parallel_size is more
    than 1. Default False."""

    do_layer_norm_weight_decay: Flag | None = None
    """The same as model.do_layer_norm_weight_decay, where the document has it; give one of the two. Default null."""
