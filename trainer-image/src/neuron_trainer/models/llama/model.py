"""Llama: RMSNorm before each block, grouped-query attention with rotary positions, SwiGLU; names as in `transformers`.

With a `sliding_window` in its config it is Mistral. Class names: those that `activations_checkpoint_recompute` lists.
"""

from torch import Tensor, nn

from neuron_trainer.models.blocks.attention import Attention, AttentionMaskBuilder
from neuron_trainer.models.blocks.mlp import MLP
from neuron_trainer.models.blocks.norm import RMSNorm
from neuron_trainer.models.blocks.rotary import Rotary
from neuron_trainer.models.spec import Part

from .config import LlamaConfig


class LlamaRMSNorm(RMSNorm):
    """Of a layer or after the last one."""


class LlamaAttention(Attention):
    """Grouped-query attention."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__(
            config.hidden_size,
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
            has_bias=config.attention_bias,
            window=config.sliding_window,
            dropout=config.attention_dropout,
        )


class LlamaMLP(MLP):
    """SwiGLU: down(silu(gate x) * up x)."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__(config.hidden_size, config.intermediate_size, has_bias=config.mlp_bias)


class LlamaDecoderLayer(nn.Module):
    """One layer: x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.input_layernorm = LlamaRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = LlamaAttention(config)
        self.post_attention_layernorm = LlamaRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = LlamaMLP(config)

    def forward(self, states: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, S, H] to [B, S, H]."""
        states = states + self.self_attn(self.input_layernorm(states), cos, sin, mask)
        return states + self.mlp(self.post_attention_layernorm(states))  # type: ignore[no-any-return]


class LlamaModel(nn.Module):
    """Embedding, layers, final norm."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(LlamaDecoderLayer(config) for _ in range(config.num_hidden_layers))
        self.norm = LlamaRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.sight = AttentionMaskBuilder(config.sliding_window)
        self._rotary = Rotary(config.rope)

    def forward(
        self,
        input_ids: Tensor,
        part: Part | None = None,
        positions: Tensor | None = None,
        documents: Tensor | None = None,
    ) -> Tensor:
        """Token ids int64 [B, S], by default of whole samples, or states [B, S, H] of earlier layers, to [B, S, H].

        `positions` and `documents`: see `neuron_trainer.models.spec`.
        """
        cos, sin = self._rotary.tables(part or Part.whole(input_ids.shape[1]), input_ids.device, positions)
        mask = self.sight(documents)
        states = input_ids if input_ids.is_floating_point() else self.embed_tokens(input_ids)
        for layer in self.layers:
            states = layer(states, cos, sin, mask)
        return self.norm(states)  # type: ignore[no-any-return]


class LlamaForCausalLM(nn.Module):
    """The language model: logits for the next token at every position."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.model = LlamaModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.tie_weights()

    def tie_weights(self) -> None:
        """Make the head use the embedding's weight where the config says so; again after parameters were replaced."""
        if self.config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    def forward(
        self,
        input_ids: Tensor,
        part: Part | None = None,
        positions: Tensor | None = None,
        documents: Tensor | None = None,
    ) -> Tensor:
        """Token ids int64 [B, S], by default of whole samples, to logits [B, S, V] in the compute dtype."""
        return self.lm_head(self.model(input_ids, part, positions, documents))  # type: ignore[no-any-return]
