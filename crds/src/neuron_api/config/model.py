"""`model`: the architecture, its fused kernels, recompute, optimizer and schedule."""

from typing import Literal

from pydantic import Field

from .section import Flag, OpenSection, Section


class FusionsConfig(Section):
    """Fused kernels; none of them changes the numbers."""

    softmax: Flag = False
    """Use the fused softmax of the Neuron compiler. Default False."""

    flash_attention: Flag = False
    """Attention without the score matrix in memory. Default False."""


class SchedulerConfig(Section):
    """The learning rate over the steps."""

    name: str = "LinearAnnealingWithWarmUp"
    """Name of the schedule. Default LinearAnnealingWithWarmUp."""

    warmup_steps: int | None = Field(default=None, ge=0)
    """Steps over which the rate rises from 0. Default 0."""

    max_steps: int | None = Field(default=None, ge=1)
    """Steps after which the rate is at its end. Default: trainer.max_steps."""


class OptimConfig(Section):
    """The optimizer and its parameters."""

    name: str
    """Name of the optimizer: adamw or adamw_fp32OptState in this release. Required."""

    lr: float = Field(ge=0)
    """Base learning rate. Required."""

    weight_decay: float = Field(default=0.01, ge=0)
    """Decoupled weight decay. Default 0.01."""

    betas: tuple[float, float] = (0.9, 0.999)
    """Decay rates of the moment estimates. Default 0.9, 0.999."""

    eps: float | None = Field(default=None, gt=0)
    """Added to the denominator. Default: 1e-8 (adamw), 1e-6 (adamw_fp32OptState)."""

    capturable: Flag = False
    """Accepted for compatibility; dropped on devices where PyTorch forbids it."""

    sched: SchedulerConfig = SchedulerConfig()
    """The learning rate over the steps."""


class ModelConfig(OpenSection):
    """The architecture. Keys of your own are kept and passed to the model."""

    model_config_path: str | None = Field(default=None, alias="model_config")
    """Path of the Hugging Face config.json that describes the architecture; required with model_source hf."""

    encoder_seq_length: int = Field(ge=1)
    """Tokens in a sample. Required."""

    max_position_embeddings: int | None = Field(default=None, ge=1)
    """Overrides the value of config.json."""

    num_layers: int | None = Field(default=None, ge=1)
    """Overrides the number of layers of config.json."""

    hidden_size: int | None = Field(default=None, ge=1)
    """Overrides the hidden size of config.json."""

    rope_theta: float | None = Field(default=None, gt=0)
    """Overrides the base of the rotary embedding of config.json."""

    qkv_linear: Flag = False
    """Query, key and value as one grouped module; needed upstream for kv_replicator. Default False."""

    fuse_qkv: Flag = False
    """Query, key and value weights in one tensor. Default False."""

    use_cpu_initialization: Flag = False
    """Initialise the weights on the CPU. Default False; the weights do not depend on it."""

    activations_checkpoint_granularity: Literal["selective", "full"] | None = None
    """Recompute in the backward pass: chosen modules (selective), each layer (full) or nothing (null). Default null."""

    activations_checkpoint_recompute: tuple[str, ...] | None = None
    """Class names of the modules that `selective` recomputes. Default [CoreAttention]."""

    fusions: FusionsConfig = FusionsConfig()
    """Fused kernels."""

    do_layer_norm_weight_decay: Flag = False
    """Apply weight decay to the weights of the norms, too. Default False."""

    weight_init_only: Flag = False
    """Take only the weights from resume_from_checkpoint and start at step 0. Default False."""

    optim: OptimConfig
    """The optimizer. Required."""
