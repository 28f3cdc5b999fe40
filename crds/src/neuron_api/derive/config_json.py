"""Hugging Face's `config.json`: which models there are, types and ranges of the keys that are read, and the sizes.

All other keys are ignored. A key without a default here is required. Bounds are far beyond any model, but below what
overflows or runs for hours.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from neuron_api.config import ModelConfig

Width = Annotated[int, Field(ge=1, le=2**24)]
Rows = Annotated[int, Field(ge=1, le=2**31 - 1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Rope(BaseModel):
    """`rope_scaling`, or `rope_parameters` of newer files."""

    model_config = ConfigDict(strict=True, extra="ignore")

    rope_type: str | None = None
    type: str | None = None
    rope_theta: Positive | None = None
    factor: Positive | None = None
    low_freq_factor: Positive | None = None
    high_freq_factor: Positive | None = None
    original_max_position_embeddings: Rows | None = None

    @model_validator(mode="after")
    def _factors(self) -> Self:
        low, high = self.low_freq_factor, self.high_freq_factor
        if low is not None and high is not None and low >= high:
            raise ValueError(f"low_freq_factor {low:g} must be less than high_freq_factor {high:g}")
        return self


class ConfigJson(BaseModel):
    """Llama's, Mistral's and Mixtral's."""

    model_config = ConfigDict(strict=True, extra="ignore", protected_namespaces=())

    model_type: str | None = None
    architectures: list[str] | None = None
    hidden_act: str = "silu"
    vocab_size: int = Field(ge=2, le=2**31 - 1)
    hidden_size: Width
    intermediate_size: Width
    num_hidden_layers: int = Field(ge=1, le=1024)
    num_attention_heads: int = Field(ge=1, le=2**16)
    num_key_value_heads: Annotated[int, Field(ge=1, le=2**16)] | None = None
    head_dim: Annotated[int, Field(ge=2, le=2**16)] | None = None
    max_position_embeddings: Rows = 2048
    rms_norm_eps: NotNegative = 1e-6
    rope_theta: Positive | None = None
    rope_scaling: Rope | None = None
    rope_parameters: Rope | None = None
    initializer_range: NotNegative = 0.02
    tie_word_embeddings: bool = False
    attention_dropout: float = Field(default=0.0, ge=0, lt=1, allow_inf_nan=False)
    attention_bias: bool = False
    mlp_bias: bool = False
    sliding_window: Rows | None = None
    num_local_experts: int = Field(default=8, ge=1, le=2**16)
    num_experts_per_tok: int = Field(default=2, ge=1, le=2**16)
    output_router_logits: bool = False
    router_aux_loss_coef: NotNegative = 0.001

    @model_validator(mode="before")
    @classmethod
    def _zero_means_unset(cls, values: Any) -> Any:
        """Some files have 0 where transformers writes null."""
        unset = ("head_dim", "num_key_value_heads")
        if not isinstance(values, dict):
            return values
        return {
            key: None if key in unset and value == 0 and value is not False else value for key, value in values.items()
        }

    @model_validator(mode="after")
    def _heads(self) -> Self:
        heads, shared = self.num_attention_heads, self.num_key_value_heads
        if shared is not None and (shared > heads or heads % shared):
            raise ValueError(f"num_attention_heads {heads} is not a multiple of num_key_value_heads {shared}")
        if self.head_dim is not None and self.head_dim % 2:
            raise ValueError(f"head_dim {self.head_dim} is odd; rotary positions need an even one")
        return self

    @model_validator(mode="after")
    def _experts(self) -> Self:
        if self.model_type == "mixtral" and self.num_experts_per_tok > self.num_local_experts:
            chosen, count = self.num_experts_per_tok, self.num_local_experts
            raise ValueError(f"num_experts_per_tok {chosen} is more than num_local_experts {count}")
        return self


@dataclass(frozen=True, slots=True)
class ModelType:
    """One value of `model_type`; `neuron_trainer.models` has a family of the same name."""

    name: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """What `transformers` takes where config.json is silent, if it is not what a Llama's silence means."""
    has_biases: bool = False
    """Whether `attention_bias` and `mlp_bias` count; the others have none, whatever their config.json says."""


MODEL_TYPES: Final[Mapping[str, ModelType]] = {
    model_type.name: model_type
    for model_type in (
        ModelType("llama", has_biases=True),
        ModelType("mistral", {"num_key_value_heads": 8, "sliding_window": 4096, "max_position_embeddings": 4096 * 32}),
        ModelType(
            "mixtral",
            {
                "num_key_value_heads": 8,
                "max_position_embeddings": 4096 * 32,
                "rms_norm_eps": 1e-5,
                "sliding_window": None,
                "num_local_experts": 8,
                "num_experts_per_tok": 2,
                "output_router_logits": False,
                "router_aux_loss_coef": 0.001,
            },
        ),
    )
}


def model_type(values: Mapping[str, Any], name: str = "") -> str:
    """Return `model_type`, else what `architectures` says, else what the experiment's name says, which decides alone
    upstream; it may be none of `MODEL_TYPES`."""
    listed = values.get("architectures")
    classes = listed if isinstance(listed, list) else []
    architectures = [str(class_).removesuffix("ForCausalLM").lower() for class_ in classes]
    by_name = [kind for kind in MODEL_TYPES if kind in name.lower()]
    return str(values.get("model_type") or next(iter([*architectures, *by_name]), "llama"))


def with_defaults(values: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Return the values with what the model's type means where they are silent."""
    return {**(MODEL_TYPES[kind].defaults if kind in MODEL_TYPES else {}), **values}


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes that config.json gives, with those of the `model` section over them; its own names."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    tie_word_embeddings: bool


def sizes(values: Mapping[str, Any], overrides: ModelConfig | None) -> Sizes:
    """Return the sizes; another hidden size keeps the number of heads. Raises `KeyError` if a required one is
    missing."""
    hidden = (overrides and overrides.hidden_size) or values["hidden_size"]
    heads = values["num_attention_heads"]
    own_head_dim = positive(values, "head_dim") if hidden == values["hidden_size"] else None
    return Sizes(
        vocab_size=values["vocab_size"],
        hidden_size=hidden,
        intermediate_size=values["intermediate_size"],
        num_hidden_layers=(overrides and overrides.num_layers) or values["num_hidden_layers"],
        num_attention_heads=heads,
        num_key_value_heads=positive(values, "num_key_value_heads") or heads,
        head_dim=own_head_dim or hidden // heads,
        tie_word_embeddings=bool(values.get("tie_word_embeddings", False)),
    )


def positive(values: Mapping[str, Any], name: str) -> int | None:
    """Return a positive integer of at most 63 bits; None for anything else."""
    value = values.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63 else None
