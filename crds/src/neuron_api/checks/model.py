"""`model`: the keys of each source, attention, recompute, experts, switches that are not supported."""

from collections.abc import Iterator, Mapping
from typing import Final

from neuron_api.config import TrainingConfig
from neuron_api.derive.activations import CLASSES
from neuron_api.findings.finding import Finding
from neuron_api.findings.registry import make_finding

_SIZES: Final = ("num_layers", "hidden_size", "ffn_hidden_size", "num_attention_heads")
_MEGATRON_ONLY: Final = (
    "ffn_hidden_size",
    "num_attention_heads",
    "num_kv_heads",
    "kv_channels",
    "sliding_window_size",
)
_GPU: Final = (
    "gradient_accumulation_fusion",
    "use_emha",
    "megatron_amp_O2",
    "bias_gelu_fusion",
    "bias_activation_fusion",
    "bias_dropout_add_fusion",
    "masked_softmax_fusion",
    "fp16_lm_cross_entropy",
)


def check(config: TrainingConfig) -> Iterator[Finding]:
    """Yield the findings about everything except layers over stages and sizes over processes."""
    yield from _source(config)
    yield from _heads(config)
    yield from _attention(config)
    yield from _recompute(config)
    yield from _switches(config)
    yield from _experts(config)
    model = config.model
    if model.max_position_embeddings is not None and model.max_position_embeddings < model.encoder_seq_length:
        yield make_finding(
            2506,
            "model.max_position_embeddings",
            f"{model.max_position_embeddings} is less than encoder_seq_length {model.encoder_seq_length}.",
        )
    if model.weight_init_only and config.exp_manager.resume_from_checkpoint is None:
        yield make_finding(2514, "model.weight_init_only", "exp_manager.resume_from_checkpoint is not set.")


def missing_keys(source: object, model: Mapping[str, object]) -> Iterator[Finding]:
    """Yield a finding for each key of `model` that its source requires and that is not set.

    Plain data: these keys are reported together with those that every configuration requires.
    """
    if source == "hf" and not model.get("model_config"):
        yield make_finding(2501, "model.model_config", "it is not set, so the architecture is not known.")
    if source == "megatron":
        for key in _SIZES:
            if model.get(key) is None:
                yield make_finding(2502, f"model.{key}", "it is required with model_source megatron.")


def _source(config: TrainingConfig) -> Iterator[Finding]:
    model = config.model
    yield from missing_keys(config.model_source, {**vars(model), "model_config": model.model_config_path})
    if config.model_source == "hf":
        others = [key for key in _MEGATRON_ONLY if getattr(model, key) is not None]
    else:
        others = ["model_config"] if model.model_config_path else []
    for key in others:
        yield make_finding(2503, f"model.{key}", f"it is not read with model_source {config.model_source}.")


def _heads(config: TrainingConfig) -> Iterator[Finding]:
    model = config.model
    heads, hidden = model.num_attention_heads, model.hidden_size
    if config.model_source != "megatron" or heads is None or hidden is None:
        return
    if model.kv_channels is None and hidden % heads:
        yield make_finding(2504, "model.hidden_size", f"{hidden} is not a multiple of num_attention_heads {heads}.")
    if model.num_kv_heads is not None and heads % model.num_kv_heads:
        yield make_finding(
            2505, "model.num_kv_heads", f"num_attention_heads {heads} is not a multiple of {model.num_kv_heads}."
        )
    rotated = int((model.kv_channels or hidden // heads) * model.rotary_percentage)
    if model.position_embedding_type == "rope" and rotated % 2:
        yield make_finding(
            2518,
            "model.rotary_percentage",
            f"{model.rotary_percentage} of a head of {model.kv_channels or hidden // heads} are {rotated} dimensions.",
        )


def _attention(config: TrainingConfig) -> Iterator[Finding]:
    fusions = config.model.fusions
    if fusions.flash_attention and fusions.ring_attention:
        yield make_finding(2511, "model.fusions.ring_attention", "it contradicts flash_attention.")
    elif fusions.ring_attention and config.distributed_strategy.context_parallel_size == 1:
        yield make_finding(
            2512, "model.fusions.ring_attention", "context_parallel_size is 1: the same as flash_attention."
        )
    if fusions.flash_attention and config.model.attention_dropout > 0:
        yield make_finding(
            2513, "model.attention_dropout", f"{config.model.attention_dropout} cannot be done by flash_attention."
        )


def _recompute(config: TrainingConfig) -> Iterator[Finding]:
    model, key = config.model, "model.activations_checkpoint_recompute"
    names = model.activations_checkpoint_recompute or ()
    granularity = model.activations_checkpoint_granularity
    if names and granularity != "selective":
        yield make_finding(2509, key, f"it is not used: activations_checkpoint_granularity is {granularity or 'null'}.")
        return
    for name in names:
        if name not in CLASSES:
            yield make_finding(
                2510, key, f"there is no module class {name[:60]!r}.", f"There are {', '.join(CLASSES)}."
            )


def _switches(config: TrainingConfig) -> Iterator[Finding]:
    model = config.model
    for key in _GPU:
        if getattr(model, key):
            yield make_finding(2515, f"model.{key}", "there is nothing behind it on Neuron.")
    if model.precision is not None:
        yield make_finding(2515, "model.precision", "the precision section decides.")
    for key in _other_recompute(config):
        yield make_finding(2516, f"model.{key}", f"{getattr(model, key)!r} does not exist here.")
    if model.transformer_block_type != "pre_ln":
        yield make_finding(
            2517, "model.transformer_block_type", f"{model.transformer_block_type!r} does not exist here."
        )


def _other_recompute(config: TrainingConfig) -> Iterator[str]:
    """Yield the keys that upstream also refuses; the values that it accepts (`uniform`, 1 layer) equal granularity
    full."""
    model = config.model
    if model.activations_checkpoint_method not in (None, "uniform"):
        yield "activations_checkpoint_method"
    if model.activations_checkpoint_num_layers not in (None, 1):
        yield "activations_checkpoint_num_layers"
    for key in (
        "activations_checkpoint_layers_per_pipeline",
        "num_micro_batches_with_partial_activation_checkpoints",
    ):
        if getattr(model, key) is not None:
            yield key
    if model.disable_layer_norm_checkpointing is False:
        yield "disable_layer_norm_checkpointing"


def _experts(config: TrainingConfig) -> Iterator[Finding]:
    """Yield the findings about experts; none for a dense model."""
    moe = config.model.moe
    if moe is None:
        return
    if config.model_source == "hf" and moe.num_experts is not None and moe.top_k > moe.num_experts:
        yield make_finding(2701, "model.moe.top_k", f"{moe.top_k} experts per token, and there are {moe.num_experts}.")
    if not moe.dropless and moe.capacity_factor == 0:
        yield make_finding(2702, "model.moe.capacity_factor", "0 drops every token, since dropless is False.")
    if moe.dropless and "capacity_factor" in moe.model_fields_set and moe.capacity_factor:
        yield make_finding(2703, "model.moe.capacity_factor", f"{moe.capacity_factor:g} is not used: dropless is True.")
    if moe.routing_algorithm == "sinkhorn" and moe.top_k != 1:
        yield make_finding(2704, "model.moe.top_k", f"sinkhorn routes a token to 1 expert, not to {moe.top_k}.")
    is_silu = config.model_source == "hf" or config.model.activation in ("swiglu", "silu")
    if moe.dropless and not (moe.glu_mlp and is_silu):
        settings = f"glu_mlp is {moe.glu_mlp} and activation {config.model.activation}"
        yield make_finding(2705, "model.moe.dropless", f"it computes gated experts with silu, and {settings}.")
    asks_for_loss = "router_aux_loss_coef" in moe.model_fields_set and moe.router_aux_loss_coef > 0
    if asks_for_loss and not moe.output_router_logits:
        yield make_finding(2706, "model.moe.router_aux_loss_coef", "it has no effect: output_router_logits is False.")
