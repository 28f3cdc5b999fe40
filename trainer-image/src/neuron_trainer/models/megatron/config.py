"""The architecture, from the keys of the `model` section and the tokenizer's vocabulary."""

from dataclasses import dataclass

from neuron_api.config import ModelConfig, TrainingConfig
from neuron_api.derive.architecture import from_megatron
from neuron_api.derive.parameters import padded_vocabulary
from neuron_api.findings.finding import error
from neuron_trainer.errors import InputError
from neuron_trainer.models.blocks.moe import MoeSettings
from neuron_trainer.models.blocks.rotary import Rope, RopeScaling


@dataclass(frozen=True, slots=True, kw_only=True)
class MegatronConfig:
    """Sizes and constants; names are those of the `model` section where it has them.

    Left out, since they change no number: `apply_query_key_layer_scaling` (divides scores by the layer's number and
    multiplies them again in the softmax, which is fp32 here in any case) and `persist_layer_norm` (a CUDA kernel).
    """

    vocab_size: int
    """Padded: rows of embedding and head."""
    hidden_size: int
    ffn_hidden_size: int
    num_layers: int
    num_attention_heads: int
    num_kv_heads: int
    kv_channels: int
    """Size of a head."""
    max_position_embeddings: int
    rope: Rope | None
    """Rotary positions; None: a learned table."""
    normalization: str
    layernorm_epsilon: float
    activation: str
    has_bias: bool
    tie_word_embeddings: bool
    sliding_window_size: int | None
    hidden_dropout: float
    attention_dropout: float
    ffn_dropout: float
    init_method_std: float
    use_scaled_init_method: bool
    fp32_residual_connection: bool
    moe: MoeSettings | None

    @property
    def max_sequence(self) -> int | None:
        """Longest sample: rows of the table, or what was asked for."""
        return self.max_position_embeddings

    def has_experts(self, layer: int) -> bool:
        """Return whether the layer (from 0) has experts: of layers counted from 1, each `frequency`-th."""
        return self.moe is not None and (layer + 1) % self.moe.frequency == 0

    @property
    def layers_with_experts(self) -> int:
        """Return how many there are."""
        return sum(map(self.has_experts, range(self.num_layers)))


def from_section(config: TrainingConfig, vocabulary: int | None = None) -> MegatronConfig:
    """`vocabulary`: entries of the tokenizer, where it is not one whose size is known. Raises `InputError`."""
    sizes, model = from_megatron(config, vocabulary), config.model
    if sizes is None:
        raise _wrong("model", "num_layers, hidden_size and num_attention_heads are needed.", "Set all of them.")
    if sizes.vocabulary is None:
        raise _wrong("data.tokenizer", "the size of the vocabulary is not known.", "Give a tokenizer.")
    if model.transformer_block_type != "pre_ln":
        raise _wrong(
            "model.transformer_block_type", f"{model.transformer_block_type!r} is not supported.", "Use pre_ln."
        )
    return MegatronConfig(
        vocab_size=padded_vocabulary(sizes, config.distributed_strategy.tensor_model_parallel_size),
        hidden_size=sizes.hidden,
        ffn_hidden_size=sizes.ffn,
        num_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        num_kv_heads=sizes.kv_heads,
        kv_channels=sizes.head_size,
        max_position_embeddings=model.max_position_embeddings or model.encoder_seq_length,
        rope=_rope(model, sizes.head_size) if model.position_embedding_type == "rope" else None,
        normalization=model.normalization,
        layernorm_epsilon=model.layernorm_epsilon,
        activation=model.activation,
        has_bias=model.has_bias,
        tie_word_embeddings=model.share_embeddings_and_output_weights,
        sliding_window_size=model.sliding_window_size,
        hidden_dropout=model.hidden_dropout,
        attention_dropout=model.attention_dropout,
        ffn_dropout=model.ffn_dropout,
        init_method_std=model.init_method_std,
        use_scaled_init_method=model.use_scaled_init_method,
        fp32_residual_connection=model.fp32_residual_connection,
        moe=MoeSettings.from_config(model.moe, 1, "sigmoid")
        if model.moe is not None and sizes.experts is not None
        else None,
    )


def _rope(model: ModelConfig, head: int) -> Rope:
    """The base may be multiplied, positions divided (which is to divide the frequencies)."""
    theta = (model.rope_theta or model.position_freq_base) * model.position_abf_factor
    factor = model.positition_interpolation_factor
    scaling = None if factor == 1.0 else RopeScaling("linear", factor)
    return Rope(theta, int(head * model.rotary_percentage), scaling)


def _wrong(key: str, message: str, remedy: str) -> InputError:
    return InputError([error(key, message, remedy)])
