"""The sizes of a model, from a Hugging Face `config.json` or from the Megatron keys of the `model` section.

Only the sizes that arithmetic needs: how many layers, how wide, which parameters.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from neuron_api.config import ModelConfig, TrainingConfig
from neuron_api.findings.finding import Finding, error

from .config_json import MODEL_TYPES, model_type, positive, sizes, with_defaults

_GATED: Final = ("swiglu", "geglu", "reglu")
_REQUIRED: Final = (
    "num_hidden_layers",
    "hidden_size",
    "num_attention_heads",
    "intermediate_size",
    "vocab_size",
)
_GPT2_VOCABULARY: Final = 50257
"""Entries of the published GPT-2 vocabulary, the only one that `GPT2BPETokenizer` is used with in NxDT's examples."""


@dataclass(frozen=True, slots=True)
class ExpertSizes:
    """Sizes of a mixture of experts in place of the MLP."""

    count: int
    """Experts of a layer."""
    per_token: int
    """`top_k`."""
    every: int
    """Every n-th layer has experts, the others an MLP: see `layers_with_experts`."""
    capacity: float | None
    """Capacity factor; None: every token is computed."""
    is_gated: bool = True
    """Each has gate and up, whatever the MLP of the other layers has. There are no biases."""
    counts_from_one: bool = False
    """`every` counts layers from 1 (Megatron), not from 0."""

    def layers_with_experts(self, layers: int) -> int:
        """Return how many of the first `layers` layers have experts."""
        return layers // self.every if self.counts_from_one else -(-layers // self.every)


@dataclass(frozen=True, slots=True)
class Architecture:
    """A decoder-only transformer."""

    kind: str
    """`model_type` of config.json, or `megatron`."""
    layers: int
    hidden: int
    heads: int
    """Query heads."""
    kv_heads: int
    head_size: int
    ffn: int
    """Width of the MLP, or of one expert."""
    vocabulary: int | None
    """Rows of the embedding before padding; None if only the tokenizer has the number."""
    is_gated: bool = True
    """The MLP has gate and up (SwiGLU), not one projection."""
    is_tied: bool = False
    """Embedding and head are one weight."""
    has_bias: bool = False
    """In the four linears of attention."""
    has_mlp_bias: bool = False
    has_norm_bias: bool = False
    """LayerNorm, not RMSNorm."""
    positions: int = 0
    """Rows of a learned position table; 0 with rotary positions."""
    vocabulary_multiple: int | None = None
    """`make_vocab_size_divisible_by`: the vocabulary is padded to a multiple of it times TP; None: it is not padded."""
    experts: ExpertSizes | None = None

    @property
    def query_width(self) -> int:
        """Return the features of all query heads."""
        return self.heads * self.head_size

    @property
    def kv_width(self) -> int:
        """Return the features of all key heads before replication, which equal those of all value heads."""
        return self.kv_heads * self.head_size

    @property
    def published_name(self) -> str:
        """Return the published model of these sizes, else the kind."""
        if self.kind == "llama":
            return {32000: "llama2", 32016: "llama2", 128256: "llama3"}.get(self.vocabulary or 0, "llama")
        if self.kind == "mixtral" and self.experts:
            size = {(4096, 32): "7B", (6144, 56): "22B"}.get((self.hidden, self.layers))
            return f"mixtral-{self.experts.count}x{size}" if size else "mixtral"
        return self.kind


def from_json(values: Mapping[str, Any], model: ModelConfig) -> tuple[Architecture | None, tuple[Finding, ...]]:
    """Return the architecture of a parsed `config.json` with the overrides of the `model` section, or findings."""
    missing = [name for name in _REQUIRED if not positive(values, name)]
    if missing:
        return None, (
            error(
                "model.model_config",
                f"the file has no positive whole number for {', '.join(missing)}.",
                "Give the config.json of a Llama, Mistral or Mixtral model.",
                "NTJ-2501",
            ),
        )
    kind = model_type(values)
    values = with_defaults(values, kind)
    own = sizes(values, model)
    has_biases = kind in MODEL_TYPES and MODEL_TYPES[kind].has_biases
    architecture = Architecture(
        kind=kind,
        layers=own.num_hidden_layers,
        hidden=own.hidden_size,
        heads=own.num_attention_heads,
        kv_heads=own.num_key_value_heads,
        head_size=own.head_dim,
        ffn=own.intermediate_size,
        vocabulary=own.vocab_size,
        is_tied=own.tie_word_embeddings,
        has_bias=has_biases and bool(values.get("attention_bias", False)),
        has_mlp_bias=has_biases and bool(values.get("mlp_bias", False)),
        experts=_experts(model, positive(values, "num_local_experts"), positive(values, "num_experts_per_tok") or 1),
    )
    return architecture, ()


def from_megatron(config: TrainingConfig, vocabulary: int | None = None) -> Architecture | None:
    """Return the architecture of the Megatron keys; None if a size is missing, which the checks report.

    `vocabulary` is its size if known from elsewhere, since the tokenizer's is not in the file.
    """
    model = config.model
    layers, hidden, heads = model.num_layers, model.hidden_size, model.num_attention_heads
    if layers is None or hidden is None or heads is None:
        return None
    learned = model.position_embedding_type == "learned_absolute"
    return Architecture(
        kind="megatron",
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=model.num_kv_heads or heads,
        head_size=model.kv_channels or hidden // heads,
        ffn=model.ffn_hidden_size or 4 * hidden,
        vocabulary=vocabulary or _tokenizer_size(config),
        is_gated=model.activation in _GATED,
        is_tied=model.share_embeddings_and_output_weights,
        has_bias=model.has_bias,
        has_mlp_bias=model.has_bias,
        has_norm_bias=model.normalization == "layernorm",
        positions=(model.max_position_embeddings or model.encoder_seq_length) if learned else 0,
        vocabulary_multiple=model.make_vocab_size_divisible_by,
        experts=_experts(model, None, 1, is_megatron=True),
    )


def _experts(model: ModelConfig, count: int | None, per_token: int, *, is_megatron: bool = False) -> ExpertSizes | None:
    """Return the experts of `model.moe`, over those of config.json; one expert is a plain MLP."""
    moe = model.moe
    count = (moe and moe.num_experts) or count
    if not count or count == 1:
        return None
    if moe is None:
        return ExpertSizes(count, per_token, every=1, capacity=None)
    return ExpertSizes(
        count,
        per_token=max(moe.top_k, 1),
        every=moe.frequency,
        capacity=None if moe.dropless or not moe.capacity_factor else moe.capacity_factor,
        is_gated=moe.glu_mlp,
        counts_from_one=is_megatron,
    )


def _tokenizer_size(config: TrainingConfig) -> int | None:
    tokenizer = config.data.tokenizer
    return _GPT2_VOCABULARY if tokenizer and tokenizer.type == "GPT2BPETokenizer" else None
