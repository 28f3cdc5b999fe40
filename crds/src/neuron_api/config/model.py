"""`model`: the architecture, its fused kernels, recompute, optimizer and schedule.

One section for both model sources: keys that only one of them reads are optional, and checked by `checks.model`.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from neuron_api.resource.accelerator import Accelerator

from .markers import NO_KERNEL, Ignored, MegatronOnly, NoEffect, NotSupported
from .moe import FusionsConfig, MoeConfig
from .optim import OptimConfig
from .section import AnyValue, Count, Flag, Number, OpenSection, Share

_WHOLE_STEPS: Final = NoEffect("PyTorch/XLA compiles whole steps", (Accelerator.NEURON,), backends=("xla",))
_BESIDE_FLASH: Final = NoEffect(
    "no kernel is called", (Accelerator.NEURON,), unless="model.fusions.flash_attention", backends=("xla",)
)
_QKV: Final = NoEffect(
    "queries, keys and values are computed the same either way; `checkpoint convert` reads it",
    unless="distributed_strategy.kv_replicator",
)


class ModelConfig(OpenSection):
    """The architecture. Keys of your own are kept and passed to the model."""

    # ---- common, and read from config.json with model_source hf (section 6) ----------------------------------------

    model_config_path: str | None = Field(default=None, alias="model_config")
    """Path of the Hugging Face config.json that describes the architecture, or the name of a published model
    (docs/plan.md lists them); required with model_source hf. Default null."""

    encoder_seq_length: Count = Field(ge=1)
    """Tokens in a sample. Required."""

    max_position_embeddings: Count | None = Field(default=None, ge=1)
    """Rows of the position table; at least encoder_seq_length. Default null: config.json's, or
    encoder_seq_length."""

    num_layers: Count | None = Field(default=None, ge=1)
    """Number of layers; null or -1 takes config.json's. Required with model_source megatron."""

    hidden_size: Count | None = Field(default=None, ge=1)
    """Width of the model; null or -1 takes config.json's. Required with model_source megatron."""

    rope_theta: Number | None = Field(default=None, gt=0)
    """Base of the rotary frequencies. Default null: config.json's."""

    qkv_linear: Annotated[Flag, _QKV] = False
    """Query, key and value as one grouped module; needed upstream for kv_replicator. Default False, upstream's."""

    fuse_qkv: Annotated[Flag, NoEffect("only `checkpoint convert` reads it")] = True
    """Query, key and value weights in one tensor; only with qkv_linear. Default True."""

    transpose_nki_inputs: Annotated[Flag, NO_KERNEL, _BESIDE_FLASH] = True
    """Layout that the flash kernel is given: [batch, heads, head size, tokens] or, with False, [batch, heads, tokens,
    head size]; numbers do not change. Default True."""

    pipeline_cuts: tuple[str, ...] | None = None
    """Layers that end a pipeline stage, as model.layers.K; one less than there are chunks. Default null: an even
    split."""

    use_cpu_initialization: Annotated[Flag, NoEffect("weights never depend on the topology")] = True
    """Draw whole weights on the CPU, so that they do not depend on the topology; here they never do, also with False.
    Default True, the document's recommendation."""

    weight_init_only: Flag = False
    """Take only the weights from resume_from_checkpoint and start at step 0. Default False."""

    token_weighted_loss: Flag = False
    """Divide a step's loss by the labels of its whole global batch, so that each label weighs the same, whatever
    micro_batch_size and the number of processes are. Default False: micro-batches weigh equally, as upstream, and so a
    label of a short answer weighs more than one of a long answer."""

    compile: Annotated[Literal["auto", "eager", "inductor", "aot_eager", "neuron"], _WHOLE_STEPS] = "auto"
    """Compile each layer, embedding, head and loss as a graph of its own: `auto` with the device's compiler (none on
    cpu, inductor on cuda, neuron on neuron), `eager` not at all, another word with that backend of torch.compile.
    Numbers change by rounding at most. A key of ours. Default auto."""

    activations_checkpoint_granularity: Literal["selective", "full"] | None = None
    """Recompute in the backward pass: chosen modules (selective), each layer (full) or nothing (null). Default
    null."""

    activations_checkpoint_recompute: tuple[str, ...] | None = None
    """Class names of the modules that `selective` recomputes. Default [CoreAttention]."""

    fusions: FusionsConfig = FusionsConfig()
    """Fused kernels."""

    do_layer_norm_weight_decay: Flag = False
    """Apply weight decay to norms and biases, too. Default False: they are exempt."""

    moe: MoeConfig | None = None
    """Mixture of experts in place of the MLP. Default null: dense."""

    optim: OptimConfig
    """The optimizer. Required."""

    # ---- written out with model_source megatron (section 7) ---------------------------------------------------------

    ffn_hidden_size: Annotated[Count | None, MegatronOnly()] = Field(default=None, ge=1)
    """Width of the MLP. Required with model_source megatron."""

    num_attention_heads: Annotated[Count | None, MegatronOnly()] = Field(default=None, ge=1)
    """Query heads. Required with model_source megatron."""

    num_kv_heads: Annotated[Count | None, MegatronOnly()] = Field(default=None, ge=1)
    """Key and value heads; divides num_attention_heads. Default null: as many as query heads."""

    kv_channels: Annotated[Count | None, MegatronOnly()] = Field(default=None, ge=1)
    """Size of a head. Default null: hidden_size / num_attention_heads."""

    init_method_std: Annotated[Number, MegatronOnly()] = Field(default=0.02, gt=0)
    """Standard deviation of fresh weights. Default 0.02."""

    use_scaled_init_method: Annotated[Flag, MegatronOnly()] = True
    """Divide it by sqrt(2 * num_layers) for the projections that end a block. Default True."""

    hidden_dropout: Annotated[Share, MegatronOnly()] = 0.0
    """Dropout after attention, MLP and embedding. Default 0."""

    attention_dropout: Annotated[Share, MegatronOnly()] = 0.0
    """Dropout on attention probabilities. Default 0."""

    ffn_dropout: Annotated[Share, MegatronOnly()] = 0.0
    """Dropout after the activation of the MLP. Default 0."""

    apply_query_key_layer_scaling: Annotated[Flag, NoEffect("the mathematics is the same"), MegatronOnly()] = True
    """Keep attention scores in the range of half precision; the mathematics is the same. Default True."""

    normalization: Annotated[Literal["rmsnorm", "layernorm"], MegatronOnly()] = "rmsnorm"
    """The norm. Default rmsnorm."""

    layernorm_epsilon: Annotated[Number, MegatronOnly()] = Field(default=1e-5, gt=0)
    """Added under the root of the norm. Default 1e-5."""

    persist_layer_norm: Annotated[Flag, Ignored()] = True
    """Choice of a CUDA kernel; accepted, no effect. Default True."""

    share_embeddings_and_output_weights: Annotated[Flag, MegatronOnly()] = False
    """One weight for embedding and output. Default False."""

    make_vocab_size_divisible_by: Annotated[Count, MegatronOnly()] = Field(default=8, ge=1)
    """The vocabulary is padded to a multiple of this times tensor_model_parallel_size. Default 8."""

    position_embedding_type: Annotated[Literal["learned_absolute", "rope"], MegatronOnly()] = "rope"
    """A learned table, or rotary. Default rope."""

    rotary_percentage: Annotated[Number, MegatronOnly()] = Field(default=1, gt=0, le=1)
    """Part of a head that is rotated. Default 1."""

    activation: Annotated[Literal["swiglu", "gelu", "silu", "geglu", "reglu"], MegatronOnly()] = "swiglu"
    """The MLP's activation. Default swiglu."""

    has_bias: Annotated[Flag, MegatronOnly()] = False
    """Biases in the linear layers. Default False."""

    transformer_block_type: Annotated[str, NotSupported()] = "pre_ln"
    """Place of the norms; only pre_ln. Default pre_ln."""

    sliding_window_size: Annotated[Count | None, MegatronOnly()] = Field(default=None, ge=1)
    """Tokens that a query sees, itself included. Default null: all before it."""

    save_logits: Annotated[Flag, Ignored()] = False
    """Return the logits from validation. Default False."""

    fp32_residual_connection: Annotated[Flag, MegatronOnly()] = False
    """Keep the residual sum in fp32. Default False."""

    fp16_lm_cross_entropy: Annotated[Flag, NotSupported()] = False
    """Only False: the loss is at least fp32."""

    positition_interpolation_factor: Annotated[Number, MegatronOnly()] = Field(default=1.0, gt=0)
    """Positions are divided by this before they are rotated. Spelled as upstream. Default 1."""

    position_freq_base: Annotated[Number, MegatronOnly()] = Field(default=10000, gt=0)
    """Base of the rotary frequencies. Default 10000."""

    position_abf_factor: Annotated[Number, MegatronOnly()] = Field(default=1, gt=0)
    """The base is multiplied by this. Default 1."""

    # ---- of NeMo's GPU code: only their off value ------------------------------------------------------------------

    gradient_accumulation_fusion: Annotated[Flag, Ignored()] = False
    """Only False: a CUDA kernel."""

    use_emha: Annotated[Flag, NotSupported()] = False
    """Only False: a CUDA kernel."""

    megatron_amp_O2: Annotated[Flag, Ignored()] = False  # noqa: N815  the document's spelling
    """Only False: the precision section decides."""

    bias_gelu_fusion: Annotated[Flag, Ignored()] = False
    """Only False: a CUDA kernel."""

    bias_activation_fusion: Annotated[Flag, Ignored()] = False
    """Only False: a CUDA kernel."""

    bias_dropout_add_fusion: Annotated[Flag, Ignored()] = False
    """Only False: a CUDA kernel."""

    masked_softmax_fusion: Annotated[Flag, Ignored()] = False
    """Only False: a CUDA kernel."""

    precision: Annotated[AnyValue, NotSupported()] = None
    """Only null: the precision section decides."""

    activations_checkpoint_method: Annotated[str | None, NotSupported()] = None
    """Only null: use activations_checkpoint_granularity."""

    activations_checkpoint_num_layers: Annotated[Count | None, NotSupported()] = None
    """Only null: use activations_checkpoint_granularity."""

    activations_checkpoint_layers_per_pipeline: Annotated[Count | None, NotSupported()] = None
    """Only null: use activations_checkpoint_granularity."""

    num_micro_batches_with_partial_activation_checkpoints: Annotated[Count | None, NotSupported()] = None
    """Only null: use activations_checkpoint_granularity."""

    disable_layer_norm_checkpointing: Annotated[Flag | None, NotSupported()] = None
    """Only null: use activations_checkpoint_granularity."""

    @model_validator(mode="before")
    @classmethod
    def _minus_one_is_config_jsons(cls, values: Any) -> Any:
        """The document writes "take config.json's" as -1."""
        if not isinstance(values, dict):
            return values
        taken = {key for key in ("num_layers", "hidden_size") if values.get(key) in (-1, "-1")}
        return {key: None if key in taken else value for key, value in values.items()}
